"""Training a dense network period by period, with a pull on some of its weights; a resume goes on in mid-epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import EvaluationError, InvalidInputError
from rank_search.plugins import check_names
from rank_search.running import device_of
from rank_search.searching.option_values import fraction, one_of, positive, whole
from rank_search.task import Oracles
from rank_search.task.batch_stream import BatchStream, mixed_seed

OPTIMISERS = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop")
SGD_DEFAULTS = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}


@dataclass(frozen=True)
class TrainingOptions:
    """How the network is trained.

    Args:
        epochs: passes over the training set.
        lr: learning rate at the start.
        schedule: ``cosine`` falls to 0 over all epochs, ``constant`` does not.
        optimiser: ``{name: ..., option: value}``, one of torch.optim; a weight decay leaves out biases and norm layers.
        batch_size: samples per batch.
        accumulate: batches per optimiser step.
        clip: largest norm of the whole gradient of the task loss; None does not clip.
        precision: ``float32``, or ``bfloat16`` for a forward pass in mixed precision.
        distill: weight of the distillation from the dense network; the objective's loss has the rest.
    """

    epochs: int
    lr: float
    schedule: str = "cosine"
    optimiser: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 128
    accumulate: int = 1
    clip: float | None = None
    precision: str = "float32"
    distill: float = 0.0

    def __post_init__(self) -> None:
        one_of("schedule", self.schedule, ("cosine", "constant"))
        one_of("precision", self.precision, ("float32", "bfloat16"))
        positive("lr", self.lr)
        if self.clip is not None:
            positive("clip", self.clip)
        whole("epochs", self.epochs, 0)
        whole("batch_size", self.batch_size, 2)
        whole("accumulate", self.accumulate, 1)
        fraction("distill", self.distill)


class OneShotTraining:
    """A network in training.

    All randomness (order and augmentation of the samples, dropout) is drawn from the seed, the epoch and the step, so
    that a restored training goes on with the same bits.

    Args:
        task: whose metered batches are used.
        model: trained in place.
        options: how.
        seed: of the order and augmentation.

    Attributes:
        step: optimiser steps done.
    """

    def __init__(self, task: Oracles, model: nn.Module, options: TrainingOptions, seed: int) -> None:
        self._task, self._model, self._options, self._seed = task, model, options, seed
        self._optimiser = _optimiser(model, options)
        self._batches = BatchStream(task, options.batch_size, seed)
        self.steps_per_epoch = math.ceil(self._batches.per_epoch / options.accumulate)
        self.total = options.epochs * self.steps_per_epoch
        self.step = 0

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.step / self.steps_per_epoch

    @property
    def lr(self) -> float:
        """Of the next step."""
        if self._options.schedule == "constant" or not self.total:
            return self._options.lr
        return self._options.lr * 0.5 * (1 + math.cos(math.pi * self.step / self.total))

    def run(
        self,
        steps: int,
        pulls: Mapping[nn.Parameter, Tensor],
        rho: float,
        after_gradient: Callable[[], None] = lambda: None,
    ) -> float:
        """Trains so many steps on ``task loss + rho / 2 sum ||W - target||^2``.

        Args:
            steps: of the optimiser.
            pulls: the target of every parameter that is pulled.
            rho: weight of the proximal term.
            after_gradient: called when the parameters carry the gradient of the task loss alone, not clipped.

        Returns:
            The mean task loss.

        Raises:
            EvaluationError: if the loss is not finite; says at which step.
            LimitReached: before the batch that would pass a limit.
        """
        device = device_of(self._model)
        losses = []
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            self._model.train()
            for _ in range(steps):
                torch.manual_seed(mixed_seed(self._seed, 1, self.step))  # dropout and stochastic depth
                losses.append(self._gradient(device))
                after_gradient()
                if self._options.clip is not None:
                    nn.utils.clip_grad_norm_(self._model.parameters(), self._options.clip)
                for parameter, target in pulls.items():
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                    parameter.grad.add_(parameter.detach() - target, alpha=rho)
                for group in self._optimiser.param_groups:
                    group["lr"] = self.lr
                self._optimiser.step()
                self.step += 1
        self._model.eval()
        if not all(value.isfinite().all() for value in self._model.state_dict().values()):
            raise EvaluationError(f"the weights are not finite after step {self.step} of {self.total}")
        return sum(losses) / len(losses)

    def state_dict(self) -> dict[str, Any]:
        state = self._optimiser.state_dict()["state"]
        return {"step": self.step, "optimiser": {str(key): value for key, value in state.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = int(state["step"])
        epoch, step = divmod(self.step, self.steps_per_epoch)
        self._batches.drawn = epoch * self._batches.per_epoch + step * self._options.accumulate
        groups = self._optimiser.state_dict()["param_groups"]
        found = {int(key): value for key, value in state["optimiser"].items()}
        self._optimiser.load_state_dict({"state": found, "param_groups": groups})

    def _gradient(self, device: torch.device) -> float:
        """Leaves the gradient of the task loss of one optimiser step in the parameters; returns the loss."""
        self._optimiser.zero_grad(set_to_none=True)
        done = self.step % self.steps_per_epoch * self._options.accumulate
        batches = min(self._options.accumulate, self._batches.per_epoch - done)
        total = 0.0
        for _ in range(batches):
            batch = self._batches.next()
            with self._precision(device):
                loss = self._task.loss(self._model, batch, self._options.distill) / batches
            if not torch.isfinite(loss):
                raise EvaluationError(
                    f"the training loss became {float(loss.detach())} at step {self.step + 1} of {self.total}"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        if self._options.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)


def _optimiser(model: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """The optimiser that the options name.

    Raises:
        InvalidInputError: if torch has none of that name, or it refuses an option.
    """
    if not isinstance(options.optimiser, Mapping):
        raise InvalidInputError(f"optimiser={options.optimiser!r} is not allowed: give {{name: ..., option: value}}")
    settings = dict(options.optimiser)
    name = one_of("optimiser name", settings.pop("name", "SGD"), OPTIMISERS)
    cls = getattr(torch.optim, name)
    what = f"the optimiser {name}"
    if "lr" in settings or "params" in settings:
        raise InvalidInputError(f"{what} takes its learning rate from the option lr, not from its own options")
    check_names(cls, {"params": None, **settings}, what, InvalidInputError)
    if name == "SGD":
        settings = SGD_DEFAULTS | settings
        settings["nesterov"] = bool(settings["nesterov"] and settings["momentum"])
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    try:
        optimiser: torch.optim.Optimizer = cls([g for g in groups if g["params"]], lr=options.lr, **settings)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} refuses {settings}: {error}") from None
    return optimiser
