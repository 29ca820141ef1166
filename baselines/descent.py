"""Steepest descent among the neighbours of the knapsack's plan."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from rank_search.searching import About, AskTellSearcher, Trial
from rank_search.space import RankPlan
from rank_search.task import Oracles


class Descent(AskTellSearcher):
    """Local search by measured loss: from the data-free optimum to the best neighbour, and on from there. (Ours.)

    A neighbour is a plan one step away (``space.neighbours``); what is over the budget is projected onto it. Neighbours
    of less weight error come first, and the first that measures better is the next centre. Where none is better, the
    best plan whose neighbours were not looked at is next (best-first search), until none is left. Nothing is drawn: all
    seeds are alike.
    """

    about: ClassVar[About] = About("local", "labels", "", "ours")

    def __init__(self, task: Oracles, *, seed: int) -> None:
        super().__init__(task, seed=seed)
        self._around: dict[RankPlan, list[RankPlan]] = {}

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        under_way = {trial.plan for trial in pending}
        if not self.trials and not pending:
            return self._start()
        for centre in self._centres():
            for plan in self._neighbours(centre):
                if plan not in self.trials and plan not in under_way:
                    return plan
        return self.unseen(np.random.default_rng([self.seed, len(self.trials), len(pending)]), pending)

    def tell(self, trial: Trial) -> None:
        pass

    def _start(self) -> RankPlan:
        space = self.task.space
        return space.plan(space.minimise(self.task.relative_errors(), self.task.budget).indices)

    def _centres(self) -> Iterator[RankPlan]:
        """The plans that were told, the best first."""
        scored = [(t.score, t.number, t.plan) for t in self.trials.values() if t.score is not None]
        heapq.heapify(scored)
        while scored:
            yield heapq.heappop(scored)[2]

    def _neighbours(self, plan: RankPlan) -> list[RankPlan]:
        """Those within the budget, by rising weight error."""
        if plan not in self._around:
            space, budget, errors = self.task.space, self.task.budget, self.task.relative_errors()
            found: dict[RankPlan, float] = {}
            for beside in space.neighbours(plan):
                near = space.project(beside, budget, errors)
                rows = space.indices(near)
                found[near] = sum(float(error[row]) for error, row in zip(errors, rows, strict=True))
            found.pop(plan, None)
            self._around[plan] = sorted(found, key=lambda near: found[near])
        return self._around[plan]
