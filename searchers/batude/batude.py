"""BATUDE: ranks learned from data within a budget, in one training run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rank_search.arrays import FloatArray
from rank_search.errors import EvaluationError, InvalidInputError, LimitReached
from rank_search.running import device_of
from rank_search.searching import About, Proposal, Searcher
from rank_search.searching.one_shot_training import OneShotTraining, TrainingOptions
from rank_search.searching.option_values import fraction, one_of, positive, whole
from rank_search.space.forms.factor_modules import weight_for
from rank_search.task import Oracles

from .gated_layer import gated_layers
from .gradient_scores import GradientScores
from .split_variables import SplitVariables

PRETRAINED_LR, SCRATCH_LR = 0.01, 0.1


class Batude(Searcher):
    """BATUDE, a reconstruction: W is trained, Z = W is held at ranks within the budget by gates on singular values.

    (BATUDE, AAAI 2022, doi 10.1609/aaai.v36i8.20869, states the problem, the split variables and that a greedy step
    picks the thresholds. Its text is not public: all else is a RECONSTRUCTION, docs/methods.md, with defaults from the
    ADMM code of the same group, CVPR 2021. ``score="gradient"``, dense as an option of the budget step and layers of
    one mode are ours.)

    A step is a period: SGD on ``loss(W) + rho / 2 ||W - Z + U||^2``, then the Z-step. The first step is a Z-step alone.
    Its proposals have no score, the last one is the answer; :meth:`trained` gives the weights that belong to it. A
    layer that has no form with singular values stays dense.

    Args:
        epochs: passes over the training set; None takes half of the task's fine-tune, at least one.
        period: epochs between Z-steps; None is one, or a quarter of all epochs where they are fewer than four.
        rho: weight of the proximal term.
        lr: learning rate; None is 0.01 from a pretrained network and 0.1 from scratch.
        schedule, optimiser, batch_size, accumulate, clip, precision, distill: see :class:`TrainingOptions`.
        gating: ``soft`` gates ``max(0, 1 - tau / s)`` (nuclear norm) or ``hard`` ones.
        score: what the budget step loses by dropping a component: its ``energy`` (the faithful arm), or the energy
            mixed with an average of squared gate gradients of the task loss (``gradient``); None is the class's own.
        gradient_weight: w of ``score="gradient"``: ``(1 - w) energy + w gradient``; 0 equals ``energy`` bit for bit.
        decay: of the moving average of squared gate gradients, per optimiser step.
        start: ``pretrained``, or ``scratch`` for new random weights.
        freeze: last part of the epochs in which ranks stay as they are.
        patience: periods without a change of any rank after which the search ends early; None never does.
        form: the form whose ranks are learned where a layer has several; None takes its first with singular values.

    Attributes:
        gates: per layer and mode the gates of the last Z-step, ``[groups, k]``, by falling singular value.

    Raises:
        InvalidInputError: if an option is not allowed, or no layer has a form with singular values.
        InfeasibleBudgetError: if no ranks of those forms meet the budget.
    """

    about: ClassVar[About] = About("one-shot training", "training", "BATUDE, AAAI 2022", "reconstruction")
    SCORE: ClassVar[str] = "energy"

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        epochs: int | None = None,
        period: float | None = None,
        rho: float = 1e-3,
        lr: float | None = None,
        schedule: str = "cosine",
        optimiser: Mapping[str, Any] | None = None,
        batch_size: int = 128,
        accumulate: int = 1,
        clip: float | None = None,
        precision: str = "float32",
        distill: float = 0.0,
        gating: str = "soft",
        score: str | None = None,
        gradient_weight: float = 0.5,
        decay: float = 0.9,
        start: str = "pretrained",
        freeze: float = 0.15,
        patience: int | None = None,
        form: str | None = None,
    ) -> None:
        super().__init__(task, seed=seed)
        scratch = one_of("start", start, ("pretrained", "scratch")) == "scratch"
        soft = one_of("gating", gating, ("soft", "hard")) == "soft"
        by_gradient = one_of("score", self.SCORE if score is None else score, ("energy", "gradient")) == "gradient"
        options = TrainingOptions(
            max(1, task.recipe.epochs // 2) if epochs is None else epochs,
            (SCRATCH_LR if scratch else PRETRAINED_LR) if lr is None else lr,
            schedule,
            optimiser or {},
            batch_size,
            accumulate,
            clip,
            precision,
            distill,
        )
        self._rho, self._patience = positive("rho", rho), patience
        if patience is not None:
            whole("patience", patience, 1)
        weight = fraction("gradient_weight", gradient_weight) * by_gradient
        if fraction("decay", decay) == 1:
            raise InvalidInputError("decay=1 is not allowed: the average would never see a gradient")
        self._layers = gated_layers(task.space, task.budget, form)
        self._split = SplitVariables(task.space, task.budget, self._layers, soft, weight)
        self._model = self.task.dense_model()
        self._model.requires_grad_(True)
        if scratch:
            _reinitialise(self._model, seed)
        self._training = OneShotTraining(self.task, self._model, options, seed)
        self._scores = GradientScores(self._layers, self._model, decay) if by_gradient else None
        between = min(1.0, max(1, options.epochs) / 4) if period is None else positive("period", period)
        self._period = between * self._training.steps_per_epoch
        self._frozen_from = (1 - fraction("freeze", freeze)) * self._training.total
        self._last_good: dict[str, Tensor] = {}
        self._stable, self._over = 0, False
        self._z_steps = 0

    @property
    def done(self) -> bool:
        stable = self._patience is not None and self._stable >= self._patience
        return self._over or stable or (self._z_steps > 0 and self._training.step >= self._training.total)

    @property
    def gates(self) -> dict[str, dict[str, FloatArray]]:
        """Per layer and mode the gates of the last Z-step, ``[groups, k]``."""
        return {
            layer.name: {
                mode: gate.numpy() for mode, gate in zip(layer.modes, self._split.gates[layer.name], strict=True)
            }
            for layer in self._layers
            if layer.name in self._split.gates
        }

    def trained(self) -> nn.Module:
        """The dense network with the weights W of the last Z-step."""
        network = copy.deepcopy(self._model)
        if self._last_good:
            network.load_state_dict(self._last_good)
        return network.eval()

    def step(self) -> Proposal:
        loss, lr = None, None
        self.task.charge(decompositions=len(self._layers))
        if self._z_steps:
            lr, start = self._training.lr, self._training.step
            try:
                loss = self._train()
            except EvaluationError as error:
                return self._stopped(str(error))
            except LimitReached:
                if self._training.step == start:
                    raise
                self._over = True  # one more Z-step with what was trained
        before = dict(self._split.ranks)
        scores = None if self._scores is None else self._scores.values
        plan = self._split.split(self._weights(), scores, self._training.step > self._frozen_from)
        self.task.admit(plan)
        self._z_steps += 1
        self._last_good = {key: value.clone() for key, value in self._model.state_dict().items()}
        changed = sum(self._split.ranks[name] != ranks for name, ranks in before.items())
        self._stable = self._stable + 1 if before and not changed else 0
        return Proposal(plan, info=self._info(loss, lr, changed))

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self._last_good,
            "training": self._training.state_dict(),
            "split": self._split.state_dict(),
            "scores": None if self._scores is None else self._scores.state_dict(),
            "stable": self._stable,
            "over": self._over,
            "gave_up": self.gave_up,
            "z_steps": self._z_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._last_good = dict(state["model"])
        if self._last_good:
            self._model.load_state_dict(self._last_good)
        self._training.load_state_dict(state["training"])
        self._split.load_state_dict(state["split"])
        if self._scores is not None:
            self._scores.load_state_dict(state["scores"])
        self.gave_up = state["gave_up"]
        self._stable, self._over, self._z_steps = int(state["stable"]), bool(state["over"]), int(state["z_steps"])

    def _train(self) -> float:
        """One period, or what is left of the epochs; returns the mean task loss."""
        targets = self._split.targets()
        pulls: dict[nn.Parameter, Tensor] = {}
        for layer in self._layers:
            if layer.name in targets:
                module = self._model.get_submodule(layer.name)
                weight = module.weight
                assert isinstance(weight, nn.Parameter)
                pulls[weight] = weight_for(module, targets[layer.name]).to(weight)
        after = (lambda: None) if self._scores is None else self._scores.add
        if self._scores is not None:
            self._scores.follow(self._split.bases)
        done, end = self._training.step, round(self._z_steps * self._period)
        return self._training.run(min(max(end, done + 1), self._training.total) - done, pulls, self._rho, after)

    def _stopped(self, why: str) -> Proposal:
        """The last good plan, as a failure that says why nothing better follows."""
        self._over = True
        self._model.load_state_dict(self._last_good)
        self.gave_up = f"{why}; the ranks and weights of the last Z-step are kept; lower lr or rho, or set clip"
        return Proposal(self._split.plan(), failure=self.gave_up)

    def _weights(self) -> dict[str, Tensor]:
        """The canonical weights of the gated layers, float64 on the CPU."""
        found = {}
        for layer in self._layers:
            weight = self._model.get_submodule(layer.name).weight
            assert isinstance(weight, Tensor)
            found[layer.name] = layer.layer.canonical(weight.detach().cpu().double())
        return found

    def _info(self, loss: float | None, lr: float | None, changed: int) -> dict[str, Any]:
        """Numbers of this period, and per layer and mode the rank, the largest one and the threshold."""
        split = self._split
        opened = [int((gate > 0).sum()) for gates in split.gates.values() for gate in gates]
        counted = [gate.numel() for gates in split.gates.values() for gate in gates]
        thresholds = [tau for name, taus in split.thresholds.items() if split.ranks[name] for tau in taus]
        return {
            "epoch": self._training.epoch,
            "task_loss": loss,
            "lr": lr,
            "open_gates": sum(opened),
            "gates": sum(counted),
            "threshold": float(np.median(thresholds)) if thresholds else 0.0,
            "primal_residual": split.primal,
            "dual_residual": self._rho * split.dual,
            "layers_changed": changed,
            "ranks": {
                layer.name: {
                    "form": layer.form.name if split.ranks[layer.name] else "dense",
                    "modes": list(layer.modes),
                    "ranks": list(split.ranks[layer.name] or layer.full),
                    "full": list(layer.full),
                    "thresholds": split.thresholds[layer.name],
                }
                for layer in self._layers
            },
        }


class BatudeGradient(Batude):
    """BATUDE with the gradient score, ours: singular values are also judged by what the task loss says of their gates.

    Args, attributes and errors: as :class:`Batude`.
    """

    about: ClassVar[About] = About("one-shot training", "training", "", "ours")
    SCORE: ClassVar[str] = "gradient"


def _reinitialise(model: nn.Module, seed: int) -> None:
    """New random weights, as the modules draw them when they are made.

    Raises:
        InvalidInputError: if a module has parameters of its own and cannot draw them.
    """
    device = device_of(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for name, module in model.named_modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if reset is not None:
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise InvalidInputError(
                    f"start='scratch' cannot be used: {name or 'the model'} ({type(module).__name__}) has parameters "
                    "of its own and no reset_parameters()"
                )
