"""Learning-compression: training and choosing ranks in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from rank_search.arrays import FloatArray, IntArray
from rank_search.copying import copy_network
from rank_search.errors import EvaluationError, InfeasibleBudgetError, LimitReached
from rank_search.searching import About, Proposal, Searcher
from rank_search.searching.one_shot_training import OneShotTraining, TrainingOptions
from rank_search.searching.option_values import positive
from rank_search.searching.within_budget import bounded_costs, is_within
from rank_search.space import RankPlan
from rank_search.space.forms.factor_modules import weight_for
from rank_search.space.forms.multiplied import multiplied
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.task import Oracles

BISECTIONS = 60


class LC(Searcher):
    """Learning-compression (Idelbayev and Carreira-Perpinan, CVPR 2020), with alpha bisected to the budget.

    L-step: SGD on ``loss(W) + mu / 2 sum ||W - Theta||^2``. C-step, each layer on its own over all its options:
    ``argmin alpha C(option) + mu / 2 ||W - Theta(option)||^2``, C the cost as a part of what the budget leaves; the
    smallest alpha whose plan is within the budget (the published method is given alpha). mu grows from step to step.
    There are no multipliers (the quadratic penalty); schedules are ours. The first step is a C-step alone. Steps
    have no score, the last one is the answer; :meth:`trained` gives the weights that belong to it. Forms without nested
    fits (``cp``) are fitted anew in every C-step, as often as a table fits them.

    Args:
        epochs: L-steps, an epoch each; None takes half of the task's fine-tune, at least one.
        mu: of the first L-step.
        growth: factor on mu from one L-step to the next.
        lr, batch_size, distill: see :class:`TrainingOptions`.
    """

    about: ClassVar[About] = About(
        "training", "training", "Idelbayev and Carreira-Perpinan, CVPR 2020", "reconstruction"
    )

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        epochs: int | None = None,
        mu: float = 0.05,
        growth: float = 2.0,
        lr: float = 0.02,
        batch_size: int = 64,
        distill: float = 0.7,
    ) -> None:
        super().__init__(task, seed=seed)
        least = max(1, task.recipe.epochs // 2) if epochs is None else epochs
        options = TrainingOptions(least, lr, batch_size=batch_size, distill=distill)
        self._mu, self._growth = positive("mu", mu), positive("growth", growth)
        self._model = self.task.dense_model()
        self._model.requires_grad_(True)
        self._training = OneShotTraining(self.task, self._model, options, seed)
        self._plan: RankPlan | None = None
        self._last_good: dict[str, Tensor] = {}
        self._steps, self._over = 0, False

    @property
    def done(self) -> bool:
        return self._over or (self._steps > 0 and self._training.step >= self._training.total)

    def trained(self) -> nn.Module:
        """The dense network with the weights W of the last C-step."""
        network = copy_network(self._model)
        if self._last_good:
            network.load_state_dict(self._last_good)
        return network.eval()

    def step(self) -> Proposal:
        loss = None
        if self._steps:
            assert self._plan is not None
            start = self._training.step
            try:
                loss = self._train(self._plan)
            except EvaluationError as error:
                return self._stopped(str(error))
            except LimitReached:
                if self._training.step == start:
                    raise
                self._over = True  # one more C-step with what was trained
        values = self._values()
        rows, alpha = compression_step(
            values,
            bounded_costs(self.task),
            self._mu_now,
            lambda rows: is_within(self.task, self.task.space.plan(rows)),
        )
        self._plan = self.task.space.plan(rows)
        self.task.admit(self._plan)
        self._last_good = {key: value.clone() for key, value in self._model.state_dict().items()}
        self._steps += 1
        far = sum(float(value[row]) for value, row in zip(values, rows, strict=True))
        info = {"task_loss": loss, "alpha": alpha, "mu": self._mu_now, "distance": far, "epoch": self._training.epoch}
        return Proposal(self._plan, info=info)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self._last_good,
            "training": self._training.state_dict(),
            "plan": None if self._plan is None else self._plan.to_dict(),
            "steps": self._steps,
            "over": self._over,
            "gave_up": self.gave_up,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._last_good = dict(state["model"])
        if self._last_good:
            self._model.load_state_dict(self._last_good)
        self._training.load_state_dict(state["training"])
        self._plan = None if state["plan"] is None else RankPlan.from_json(state["plan"])
        self._steps, self._over, self.gave_up = int(state["steps"]), bool(state["over"]), state["gave_up"]

    @property
    def _mu_now(self) -> float:
        return float(self._mu * self._growth ** max(0, self._steps - 1))

    def _train(self, plan: RankPlan) -> float:
        """One L-step; returns the mean task loss."""
        pulls: dict[nn.Parameter, Tensor] = {}
        rows = self.task.space.indices(plan)
        for options, weight, row in zip(self.task.space.layers, self._weights(), rows.tolist(), strict=True):
            if row:
                self.task.charge(decompositions=1)
                form = options.forms[int(options.form[row])]
                theta = multiplied(form.factors(weight, options.choice(row).ranks), options.layer.groups)
                module = self._model.get_submodule(options.layer.name)
                assert isinstance(module.weight, nn.Parameter)
                pulls[module.weight] = weight_for(module, theta).to(module.weight)
        done, per_epoch = self._training.step, self._training.steps_per_epoch
        end = min(self._steps * per_epoch, self._training.total)
        return self._training.run(max(1, end - done), pulls, self._mu_now)

    def _weights(self) -> list[LayerWeight]:
        found = []
        for options in self.task.space.layers:
            weight = self._model.get_submodule(options.layer.name).weight
            assert isinstance(weight, Tensor)
            found.append(LayerWeight(options.layer, weight, None, options.weight.whitening))
        return found

    def _values(self) -> list[FloatArray]:
        """``||W - Theta||^2`` of every option, in the space's metric, an array ``[n]`` per layer."""
        found = {}
        for options in self.task.space.layers:
            weight = self._model.get_submodule(options.layer.name).weight
            assert isinstance(weight, Tensor)
            found[options.layer.name] = weight.detach()
        relative = self.task.trained_errors(found) if self._steps else self.task.relative_errors()
        return [error * weight.energy * weight.scale for error, weight in zip(relative, self._weights(), strict=True)]

    def _stopped(self, why: str) -> Proposal:
        """The last good plan, as a failure that says why nothing better follows."""
        self._over = True
        self._model.load_state_dict(self._last_good)
        self.gave_up = f"{why}; the ranks and weights of the last C-step are kept; lower lr or mu"
        return Proposal(self._plan, failure=self.gave_up)


def compression_step(
    values: Sequence[FloatArray], costs: Sequence[FloatArray], mu: float, fits: Callable[[IntArray], bool]
) -> tuple[IntArray, float]:
    """The C-step: per layer ``argmin alpha C + mu / 2 value``, with the smallest alpha whose selection fits.

    Args:
        values: ``||W - Theta||^2`` per layer and option, ``[n]``; inf where there is no fit.
        costs: of every option, ``[n]``.
        mu: of the penalty.
        fits: whether a selection, ``[layers]``, is within the budget.

    Returns:
        The selection and alpha.

    Raises:
        InfeasibleBudgetError: if even the cheapest options are too dear.
    """

    def chosen(alpha: float) -> IntArray:
        scores = [alpha * cost + mu / 2 * value for cost, value in zip(costs, values, strict=True)]
        least = [np.flatnonzero(score == score.min()) for score in scores]
        return np.array([int(rows[np.argmin(cost[rows])]) for rows, cost in zip(least, costs, strict=True)])

    if fits(chosen(0.0)):
        return chosen(0.0), 0.0
    size = max(float(v[np.isfinite(v)].max(initial=0.0)) for v in values) * mu / 2 + 1e-30
    steps = [np.diff(np.unique(cost)) for cost in costs]
    closest = min((float(step.min()) for step in steps if len(step)), default=1.0)
    low, high = 0.0, 2 * size / closest  # there every layer takes its cheapest option
    if not fits(chosen(high)):
        raise InfeasibleBudgetError("no plan meets the budget: the cheapest option of every layer is too dear together")
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(chosen(middle)) else (middle, high)
    return chosen(high), high
