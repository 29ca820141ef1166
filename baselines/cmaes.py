"""The covariance matrix adaptation evolution strategy in a few coordinates around the knapsack's plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cmaes
import numpy as np

from rank_search.searching import About, AskTellSearcher, Trial
from rank_search.searching.option_values import positive
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .coordinates import AroundKnapsack

STALE = 4  # generations without a new plan, after which it starts anew
POINTS = 30  # without a new plan, after which any unseen plan is asked for


class CMAES(AskTellSearcher):
    """CMA-ES (Hansen and Ostermeier, 2001; the package cmaes) over what the knapsack is told that errors weigh.

    Per stage and form a weight, and an exponent (see :class:`AroundKnapsack`, ours); the first mean is the data-free
    optimum, which is evaluated first. A plan that is met again is answered from what is known; a failed one counts as
    the worst so far. A strategy that has converged starts anew with another seed. A restored search asks and tells its
    points again, which takes milliseconds.

    Args:
        sigma: the first step size; coordinates run from -1 to 1.
    """

    about: ClassVar[About] = About("evolutionary", "labels", "Hansen and Ostermeier, 2001 (cmaes)", "ours")

    def __init__(self, task: Oracles, *, seed: int, sigma: float = 0.4) -> None:
        super().__init__(task, seed=seed)
        self._sigma = positive("sigma", sigma)
        self._made: AroundKnapsack | None = None
        self._strategy: cmaes.CMA | None = None
        self._starts = 0
        self._generation: list[tuple[list[float], RankPlan]] = []
        self._fresh = True  # whether the generation under way has met a plan that was new
        self._stale = 0
        self._log: list[list[Any]] = []

    @property
    def coordinates(self) -> AroundKnapsack:
        """What is moved in."""
        if self._made is None:
            self._made = AroundKnapsack(self.task)
        return self._made

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        under_way = {trial.plan for trial in pending}
        if not self.trials and not pending:
            return self.coordinates.plan(self.coordinates.knapsack())
        for _ in range(POINTS):
            strategy = self._current()
            if len(self._generation) == strategy.population_size:
                if any(plan not in self.trials for _, plan in self._generation):
                    return None  # some of the generation are under way
                self._finish()
                strategy = self._current()
            plan = self._drawn(strategy)
            if plan not in self.trials and plan not in under_way:
                self._fresh = True
                return plan
        rng = np.random.default_rng([self.seed, len(self.trials), *([len(pending)] if pending else [])])
        return self.unseen(rng, pending)

    def tell(self, trial: Trial) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "log": [list(entry) for entry in self._log],
            "drawn": len(self._generation),
            "fresh": self._fresh,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._strategy, self._starts, self._stale, self._log, self._generation = None, 0, 0, [], []
        for values, fresh in state["log"]:
            strategy = self._current()
            for _ in range(strategy.population_size):
                self._drawn(strategy)
            self._fresh = bool(fresh)
            self._told(list(values))
        if state["drawn"]:
            strategy = self._current()
            for _ in range(int(state["drawn"])):
                self._drawn(strategy)
        self._fresh = bool(state["fresh"])

    def _current(self) -> cmaes.CMA:
        if self._strategy is None:
            width = max(2, len(self.coordinates.distributions))  # a strategy has two dimensions at least
            bounds = np.tile([-1.0, 1.0], (width, 1))
            seed = int(np.random.SeedSequence([self.seed, self._starts]).generate_state(1)[0])
            size = max(4, 4 + int(3 * np.log(width)))
            self._strategy = cmaes.CMA(np.zeros(width), self._sigma, bounds, seed=seed, population_size=size)
            self._starts += 1
        return self._strategy

    def _drawn(self, strategy: cmaes.CMA) -> RankPlan:
        """The next point of the generation, and its plan."""
        point = strategy.ask().tolist()
        plan = self.coordinates.plan(dict(zip(self.coordinates.distributions, point, strict=False)))
        self._generation.append((point, plan))
        return plan

    def _finish(self) -> None:
        """Tells the strategy what its generation is worth."""
        known = [trial.score for trial in self.trials.values() if trial.score is not None]
        worst = max(known, default=0.0)
        scores = (self.trials[plan].score for _, plan in self._generation)
        self._told([worst if score is None else score for score in scores])

    def _told(self, values: list[float]) -> None:
        assert self._strategy is not None
        self._log.append([values, self._fresh])
        points = [(np.array(point), value) for (point, _), value in zip(self._generation, values, strict=True)]
        self._strategy.tell(points)
        self._stale = 0 if self._fresh else self._stale + 1
        self._generation, self._fresh = [], False
        if self._stale >= STALE or self._strategy.should_stop():
            self._strategy, self._stale = None, 0
