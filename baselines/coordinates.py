"""What a black-box method moves in: numbers that stand for plans within the budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from rank_search.space import RankPlan
from rank_search.space.parameters import parameters_of, values_of, vector_of
from rank_search.task import Oracles

Parameters = Mapping[str, Any]

STAGES = 4
SPREAD = 2.0  # of logarithms of weights: a factor of e^2 up or down
FORM_SPREAD = 1.0


class Coordinates(ABC):
    """A way to name plans.

    Attributes:
        distributions: of every parameter, by name.
    """

    distributions: dict[str, BaseDistribution]

    @abstractmethod
    def plan(self, parameters: Parameters) -> RankPlan:
        """The plan of these parameters, within the budget."""

    @abstractmethod
    def parameters(self, plan: RankPlan) -> dict[str, Any] | None:
        """Parameters of a plan; None where they cannot be told."""

    @abstractmethod
    def knapsack(self) -> dict[str, Any]:
        """The parameters of the data-free optimum."""

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        """Random parameters, each uniform."""
        found: dict[str, Any] = {}
        for name, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                found[name] = distribution.choices[int(rng.integers(len(distribution.choices)))]
            else:
                assert isinstance(distribution, FloatDistribution)
                found[name] = float(rng.uniform(distribution.low, distribution.high))
        return found


class AllRanks(Coordinates):
    """Every form and rank of every layer: the coordinates of ``space.encode``, projected onto the budget.

    Args:
        task: of the space.
    """

    def __init__(self, task: Oracles) -> None:
        self._task = task
        self._parameters = parameters_of(task.space.layers)
        self.distributions = {
            parameter.name: FloatDistribution(0.0, 1.0)
            if parameter.forms is None
            else CategoricalDistribution(parameter.forms)
            for parameter in self._parameters
        }

    def plan(self, parameters: Parameters) -> RankPlan:
        space = self._task.space
        return space.project(space.decode(vector_of(self._parameters, parameters)), self._task.budget)

    def parameters(self, plan: RankPlan) -> dict[str, Any]:
        return values_of(self._parameters, self._task.space.encode(plan))

    def knapsack(self) -> dict[str, Any]:
        space = self._task.space
        return self.parameters(space.plan(space.minimise(self._task.relative_errors(), self._task.budget).indices))


class AroundKnapsack(Coordinates):
    """A few numbers around the data-free optimum: what the knapsack is told that errors weigh.

    ``value = s(stage) f(form) e^p`` for the relative error e: a weight per stage of consecutive layers (1 for the
    first), one per form (1 for the first), and the exponent p. Every point is a plan that spends the budget; at 0
    everywhere it is the knapsack's. (Ours.)

    Args:
        task: of the space; its relative errors are used.
        stages: of consecutive layers, as many layers each as can be.
    """

    def __init__(self, task: Oracles, stages: int = STAGES) -> None:
        self._task, self._errors = task, task.relative_errors()
        count = min(stages, len(task.space.layers))
        self._stage = np.concatenate([np.full(len(part), i) for i, part in enumerate(_parts(task, count))])
        self._forms = list(dict.fromkeys(form.name for options in task.space.layers for form in options.forms))
        names = [f"stage {i}" for i in range(1, count)] + [f"form {name}" for name in self._forms[1:]] + ["exponent"]
        self.distributions = {name: FloatDistribution(-1.0, 1.0) for name in names}

    def plan(self, parameters: Parameters) -> RankPlan:
        space = self._task.space
        exponent = 2.0 ** parameters["exponent"]
        values = []
        for options, error, stage in zip(space.layers, self._errors, self._stage.tolist(), strict=True):
            weight = np.exp(SPREAD * parameters[f"stage {stage}"]) if stage else 1.0
            forms = [np.exp(FORM_SPREAD * parameters.get(f"form {form.name}", 0.0)) for form in options.forms]
            by_form = np.array([*forms, 1.0])[options.form]  # -1, dense, is the last
            values.append(weight * by_form * np.power(error, exponent))
        return space.plan(space.minimise(values, self._task.budget).indices)

    def parameters(self, plan: RankPlan) -> None:
        return None

    def knapsack(self) -> dict[str, Any]:
        return dict.fromkeys(self.distributions, 0.0)


def _parts(task: Oracles, count: int) -> list[np.ndarray[Any, Any]]:
    return np.array_split(np.arange(len(task.space.layers)), count)
