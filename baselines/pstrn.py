"""Evolution on a grid of ranks that narrows around what is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rank_search.arrays import FloatArray, IntArray
from rank_search.searching import About, AskTellSearcher, Trial
from rank_search.searching.option_values import fraction, whole
from rank_search.searching.within_budget import bounded_costs
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .single_layer import frontier

TRIES = 12
PARENTS = 8


class PSTRN(AskTellSearcher):
    """PSTRN's progressive search (Li et al., 2021): a genetic algorithm over few ranks a layer, then over closer ones.

    A phase offers every layer a handful of options, evenly spaced over its range; when it is over, the range narrows
    around the best plan so far. Reconstructed: the published ranks are of tensor rings, one number a core; here a
    layer's options are those of all forms that no other one beats on cost and weight error, in the order of cost, and
    plans over the budget are projected onto it. When the ranges can narrow no more the last phase goes on.

    Args:
        grid: options of a layer in a phase.
        evaluations: of a phase.
        shrink: width of the next range as a fraction of the last one.
        mutation: probability that a layer takes another option of the grid.
    """

    about: ClassVar[About] = About("evolutionary", "labels", "PSTRN (Li et al., 2021)", "reconstruction")

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        grid: int = 5,
        evaluations: int = 24,
        shrink: float = 0.5,
        mutation: float = 0.2,
    ) -> None:
        super().__init__(task, seed=seed)
        self._grid, self._evaluations = whole("grid", grid, 2), whole("evaluations", evaluations, 2)
        self._shrink, self._mutation = fraction("shrink", shrink), fraction("mutation", mutation)
        self._rng = np.random.default_rng(seed)
        self._made: list[IntArray] | None = None
        self._low = self._high = np.zeros(0)
        self._genes: dict[RankPlan, list[int]] = {}
        self._asked = 0

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        under_way = {trial.plan for trial in pending}
        paths = self._paths()
        if self._asked and self._asked % self._evaluations == 0:
            self._narrow()
        best = self._best()
        for _ in range(TRIES):
            genes = self._child(best) if self._asked >= self._evaluations // 2 else self._drawn()
            rows = np.array([path[gene] for path, gene in zip(paths, genes, strict=True)])
            plan = self.task.space.project(self.task.space.plan(rows), self.task.budget)
            if plan not in self.trials and plan not in under_way:
                self._genes[plan] = genes
                self._asked += 1
                return plan
        unseen = self.unseen(self._rng, pending)
        if unseen is not None:
            self._genes[unseen] = self._nearest(unseen)
            self._asked += 1
        return unseen

    def tell(self, trial: Trial) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "rng": self._rng.bit_generator.state,
            "low": self._low.tolist(),
            "high": self._high.tolist(),
            "genes": [[plan.to_dict(), genes] for plan, genes in self._genes.items()],
            "asked": self._asked,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._rng.bit_generator.state = state["rng"]
        self._paths()
        if state["low"]:
            self._low, self._high = np.array(state["low"]), np.array(state["high"])
        self._genes = {RankPlan.from_json(plan): list(genes) for plan, genes in state["genes"]}
        self._asked = int(state["asked"])

    def _paths(self) -> list[IntArray]:
        """Per layer the options in the order of cost, the cheapest first and dense last."""
        if self._made is None:
            costs, errors = bounded_costs(self.task), self.task.relative_errors()
            self._made = [
                np.append(frontier(cost, error, np.flatnonzero(cost < cost[0]))[::-1], 0)
                for cost, error in zip(costs, errors, strict=True)
            ]
            self._low, self._high = np.zeros(len(self._made)), np.array([len(path) - 1.0 for path in self._made])
        return self._made

    def _offered(self, layer: int) -> IntArray:
        """The places on a layer's path that this phase offers."""
        places = np.rint(np.linspace(self._low[layer], self._high[layer], self._grid))
        offered: IntArray = np.unique(places.astype(np.int64))
        return offered

    def _drawn(self) -> list[int]:
        return [int(self._rng.choice(self._offered(layer))) for layer in range(len(self._low))]

    def _child(self, best: Sequence[list[int]]) -> list[int]:
        """Two of the best plans so far, layer by layer, moved onto this phase's grid, some layers at random."""
        if not best:
            return self._drawn()
        one, other = (best[int(self._rng.integers(len(best)))] for _ in range(2))
        mixed = np.where(self._rng.random(len(one)) < 0.5, one, other)
        genes = []
        for layer, gene in enumerate(mixed.tolist()):
            offered = self._offered(layer)
            if self._rng.random() < self._mutation:
                genes.append(int(self._rng.choice(offered)))
            else:
                genes.append(int(offered[np.argmin(np.abs(offered - gene))]))
        return genes

    def _best(self) -> list[list[int]]:
        scored = [trial for trial in self.trials.values() if trial.score is not None and trial.plan in self._genes]
        ordered = sorted(scored, key=lambda trial: (trial.score, trial.number))
        return [self._genes[trial.plan] for trial in ordered[:PARENTS]]

    def _narrow(self) -> None:
        best = self._best()
        if not best:
            return
        tops = np.array([len(path) - 1.0 for path in self._paths()])
        half = np.maximum(self._shrink * (self._high - self._low) / 2, np.minimum(1.0, tops / 2))
        centre = np.clip(np.array(best[0], dtype=np.float64), half, tops - half)
        self._low, self._high = np.maximum(centre - half, 0.0), np.minimum(centre + half, tops)

    def _nearest(self, plan: RankPlan) -> list[int]:
        """Places on the paths that cost most like a plan's options."""
        rows, costs = self.task.space.indices(plan), bounded_costs(self.task)

        def place(path: IntArray, cost: FloatArray, row: int) -> int:
            return int(np.argmin(np.abs(cost[path] - cost[row])))

        return [place(*layer) for layer in zip(self._paths(), costs, rows.tolist(), strict=True)]
