"""Training a network by a recipe, in one piece or in several: SGD-Nesterov, a cosine, distillation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import EvaluationError, InvalidInputError, RankSearchError, told
from rank_search.nests import Nest, moved
from rank_search.running import device_of
from rank_search.space.forms.low_rank import LowRank
from rank_search.task.data.data import Data
from rank_search.task.evaluation import with_dense
from rank_search.task.layout import channels_last
from rank_search.task.mixup import mixed
from rank_search.task.objectives.choose import ObjectiveSpec, make_objective
from rank_search.task.recipe import Recipe
from rank_search.task.repair.recalibration import BatchNorm
from rank_search.task.task_loss import task_loss


class Training:
    """The training of one network, epoch by epoch: stopped after any of them it goes on to the same bits.

    The learning rate follows the whole recipe, however many pieces it is trained in.

    Args:
        model: dense or compressed; trained in place, and in eval mode between the pieces.
        data: its training set is used, augmented where it is images.
        recipe: how, and for how many epochs in all.
        seed: of the order and augmentation of the samples, and of what the network draws itself.
        teacher: the dense network to distil from; None trains by the objective alone.
        charge: called with the number of samples before each step.
        objective: what the network is trained for: an objective or its name; None is classification.

    Attributes:
        epochs: trained so far.
        samples: trained on so far, those before a resume among them.

    Raises:
        InvalidInputError: if nothing of the network can be trained, or the objective needs a teacher that is not there.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        seed: int = 0,
        teacher: nn.Module | None = None,
        charge: Callable[[int], None] = lambda samples: None,
        objective: ObjectiveSpec | None = None,
    ) -> None:
        self.model, self.recipe = model.eval(), recipe
        self.epochs = self.samples = 0
        self._data, self._teacher, self._charge = data, teacher, charge
        self._objective = make_objective(objective)
        if self._objective.by_dense and teacher is None:
            raise InvalidInputError(
                f"the objective {type(self._objective).__name__} compares with the dense network: it cannot train one "
                "without a teacher"
            )
        if recipe.epochs and not any(parameter.requires_grad for parameter in model.parameters()):
            raise InvalidInputError(
                f"every parameter of {type(model).__name__} is frozen (requires_grad=False): nothing can be trained; "
                "thaw some, or set epochs=0"
            )
        self._generator = torch.Generator().manual_seed(seed)
        self._random: list[Tensor] | None = None  # of the global generators, from which dropout draws
        self._seed, self._step = seed, 0

    @cached_property
    def _optimiser(self) -> torch.optim.SGD:
        momentum = self.recipe.momentum
        groups = _groups(self.model, self.recipe)
        return torch.optim.SGD(groups, lr=self.recipe.lr, momentum=momentum, nesterov=momentum > 0)

    @property
    def done(self) -> bool:
        """Whether every epoch of the recipe is over."""
        return self.epochs >= self.recipe.epochs

    def run(self, epochs: int = 1) -> list[float]:
        """Trains for so many epochs more, or for those that are left.

        Returns:
            The mean loss of each.

        Raises:
            EvaluationError: if the network fails or the loss is not finite; says at which step.
            InvalidInputError: if the objective does not fit the network's outputs.
        """
        losses = []
        with self._randomness(), channels_last(self.model, self._example()):
            for _ in range(min(epochs, self.recipe.epochs - self.epochs)):
                losses.append(self._epoch())
                self.epochs += 1
        self.model.eval()
        return losses

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on, as plain values and tensors."""
        momenta = [self._optimiser.state[parameter].get("momentum_buffer") for parameter in self._trained()]
        return {
            "epochs": self.epochs,
            "samples": self.samples,
            "step": self._step,
            "model": {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()},
            "buffers": {name: buffer.clone() for name, buffer in self._unsaved_buffers()},
            "momenta": [None if momentum is None else momentum.clone() for momentum in momenta],
            "generator": self._generator.get_state(),
            "random": self._random,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from the state of a training with the same arguments; nothing is charged for what it had."""
        self.model.load_state_dict(state["model"])
        for parameter, momentum in zip(self._trained(), state["momenta"], strict=True):
            if momentum is not None:
                self._optimiser.state[parameter]["momentum_buffer"] = momentum.to(parameter.device, copy=True)
        for name, buffer in self._unsaved_buffers():
            buffer.copy_(state["buffers"][name])
        self._generator.set_state(state["generator"])
        self._random = state["random"]
        self.epochs, self.samples, self._step = int(state["epochs"]), int(state["samples"]), int(state["step"])

    def _epoch(self) -> float:
        """One epoch; its mean loss."""
        self.model.train()
        if self.recipe.fix_norms:
            for module in self.model.modules():
                if isinstance(module, BatchNorm) and module.running_mean is not None:
                    module.eval()
        device = device_of(self.model)
        losses = []
        batches = self._data.train_batches(self.recipe.batch_size, self._generator)
        if self._objective.by_dense:  # whose targets are the dense network's answers, to the sums
            batches = (mixed(batch, self.recipe.mixup, self._generator).batch for batch in batches)
        for batch in with_dense(batches, self._objective, self.model if self._teacher is None else self._teacher):
            self._charge(batch.samples)
            self.samples += batch.samples
            self._set_rate()
            self._step += 1
            batch = batch.to(device)
            mix = None if self._objective.by_dense else mixed(batch, self.recipe.mixup, self._generator)
            batch = batch if mix is None else mix.batch
            try:
                loss = task_loss(self.model, self._teacher, batch, self.recipe, self._objective, mix)
            except RankSearchError:
                raise
            except (RuntimeError, IndexError, ValueError) as error:
                raise EvaluationError(
                    f"the network cannot be trained on these samples, at step {self._step}: {told(error)}"
                ) from error
            if not torch.isfinite(loss):
                raise EvaluationError(
                    f"the training loss became {float(loss.detach())} at step {self._step} of {self._steps}; "
                    f"lower finetune lr ({self.recipe.lr}) or clip"
                )
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
            self._optimiser.step()
            losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    def _example(self) -> Nest:
        """Two training samples."""
        (batch,) = self._data.batches(self._data.train.subset(min(2, len(self._data.train)), seed=0), 2)
        return moved(batch.inputs, device_of(self.model))

    @property
    def _steps(self) -> int:
        """Of all epochs; a single sample left over joins a batch."""
        return self.recipe.epochs * math.ceil((len(self._data.train) - 1) / self.recipe.batch_size)

    def _set_rate(self) -> None:
        factor = _cosine(self._step, self._steps, self.recipe.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * factor

    def _unsaved_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Buffers that the network's own state leaves out."""
        saved = {*self.model.state_dict()}
        return ((name, buffer) for name, buffer in self.model.named_buffers() if name not in saved)

    def _trained(self) -> Iterator[nn.Parameter]:
        for group in self._optimiser.param_groups:
            yield from group["params"]

    @contextmanager
    def _randomness(self) -> Iterator[None]:
        """The global generators as this training left them; the caller's are put back."""
        device = device_of(self.model)
        on_cuda = device.type == "cuda"
        with torch.random.fork_rng(devices=[device] if on_cuda else []):
            if self._random is None:
                torch.manual_seed(self._seed)
            else:
                torch.set_rng_state(self._random[0])
                if on_cuda:
                    torch.cuda.set_rng_state(self._random[1], device)
            try:
                yield
            finally:
                self._random = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if on_cuda else [])]


def train(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    seed: int = 0,
    teacher: nn.Module | None = None,
    charge: Callable[[int], None] = lambda samples: None,
    after_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    objective: ObjectiveSpec | None = None,
) -> nn.Module:
    """Trains a network in place; the same seed gives the same bits on the same machine and thread count.

    Args:
        model, data, recipe, seed, teacher, charge, objective: as :class:`Training` takes them.
        after_epoch: called with the epoch (from 1) and its mean loss.

    Returns:
        The network, in eval mode.

    Raises:
        EvaluationError: if the network fails or the loss is not finite; says at which step.
        InvalidInputError: if the objective does not fit the network's outputs, or needs a teacher that is not there.
    """
    training = Training(model, data, recipe, seed, teacher, charge, objective)
    while not training.done:
        (loss,) = training.run()
        after_epoch(training.epochs, loss)
    return model


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Parameter groups by the form of their layer (its learning rate) and by whether they are decayed."""
    factor_of: dict[int, float] = {}
    for module in model.modules():
        if isinstance(module, LowRank):
            factor = recipe.form_lr.get(module.choice.form, 1.0)
            factor_of |= {id(parameter): factor for parameter in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor_of.get(id(parameter), 1.0), decay), []).append(parameter)
    return [
        {"params": parameters, "lr": recipe.lr * factor, "peak": recipe.lr * factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def _cosine(step: int, total: int, warmup: float) -> float:
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
