"""Regularised evolution on rank plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rank_search.arrays import IntArray
from rank_search.errors import InvalidInputError
from rank_search.searching import About, AskTellSearcher, Trial
from rank_search.searching.option_values import fraction, whole
from rank_search.space import RankPlan
from rank_search.task import Oracles

TRIES = 12  # children in a row that are known plans, before an unseen one is drawn


class Evolution(AskTellSearcher):
    """Ageing evolution (Real et al., AAAI 2019): the best of a sample of the population breeds, the oldest dies.

    Carried over to ranks (ours): a mutation takes one step to a neighbouring rank or form (``space.neighbours``) in
    some layers; a child of two takes each layer from either; what is over the budget is projected onto it, so that no
    plan ever leaves it.

    Args:
        population: plans that are alive; as many are drawn first.
        sample: of them, the best of which breeds.
        crossover: probability of a second parent.
        steps: expected number of layers that a mutation changes.
        warm_start: ``knapsack`` puts the data-free optimum into the first population.
    """

    about: ClassVar[About] = About("evolutionary", "labels", "Real et al., AAAI 2019", "reconstruction")

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        population: int = 12,
        sample: int = 6,
        crossover: float = 0.2,
        steps: float = 1.5,
        warm_start: str | None = None,
    ) -> None:
        super().__init__(task, seed=seed)
        self._population, self._sample = whole("population", population, 2), whole("sample", sample, 1)
        self._crossover = fraction("crossover", crossover)
        if isinstance(steps, bool) or not isinstance(steps, int | float) or not steps >= 1:
            raise InvalidInputError(f"steps={steps!r} is not allowed: it is a number, at least 1")
        if warm_start not in (None, "knapsack"):
            raise InvalidInputError(f"warm_start={warm_start!r} is not allowed: it is null or 'knapsack'")
        self._steps, self._warm_start = float(steps), warm_start
        self._rng = np.random.default_rng(seed)

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        under_way = {trial.plan for trial in pending}
        if self._warm_start and not self.trials and not pending:
            space = self.task.space
            return space.plan(space.minimise(self.task.relative_errors(), self.task.budget).indices)
        alive = [trial for trial in self.trials.values() if trial.score is not None][-self._population :]
        if len(self.trials) + len(pending) < self._population or not alive:
            return self.unseen(self._rng, pending)
        for _ in range(TRIES):
            plan = self._child(alive)
            if plan not in self.trials and plan not in under_way:
                return plan
        return self.unseen(self._rng, pending)

    def tell(self, trial: Trial) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._rng.bit_generator.state = state["rng"]

    def _child(self, alive: Sequence[Trial]) -> RankPlan:
        space, rng = self.task.space, self._rng
        rows = space.indices(self._parent(alive)).copy()
        if rng.random() < self._crossover:
            other = space.indices(self._parent(alive))
            rows = np.where(rng.random(len(rows)) < 0.5, rows, other)
        return space.project(space.plan(self._mutated(rows)), self.task.budget)

    def _parent(self, alive: Sequence[Trial]) -> RankPlan:
        places = self._rng.choice(len(alive), size=min(self._sample, len(alive)), replace=False)
        return min((alive[int(place)] for place in places), key=lambda trial: trial.score or 0.0).plan

    def _mutated(self, rows: IntArray) -> IntArray:
        """One step in each of some layers, at least one."""
        layers = len(rows)
        changed = self._rng.random(layers) < min(1.0, self._steps / layers)
        if not changed.any():
            changed[self._rng.integers(layers)] = True
        for layer in np.flatnonzero(changed).tolist():
            beside = self.task.space.adjacent(layer, int(rows[layer]))
            if beside:
                rows[layer] = beside[int(self._rng.integers(len(beside)))]
        return rows
