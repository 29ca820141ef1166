"""The plan within the budget that lies nearest to one that is taken, and is not taken itself."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.budget import Budget
from rank_search.space.plan import RankPlan
from rank_search.space.tables import moves

if TYPE_CHECKING:
    from rank_search.space.space import RankSpace

ENUMERABLE = 20_000  # spaces up to this size are looked through to the last plan
NEAREST = 8  # options of a layer
POPPED = 2_000  # plans of a larger space that are looked at, nearest first
DRAWS = 64  # random plans of a larger space after that


def nearest_unseen(space: RankSpace, plan: RankPlan, budget: Budget, taken: Collection[RankPlan]) -> RankPlan | None:
    """The nearest plan within the budget that is not taken; None where there is none left.

    Near as in :meth:`RankSpace.project`. In a space of at most 20,000 plans the answer is exact. In a larger one the
    plans are reached by changes of one layer that keep to the budget, then drawn; None says that thousands are taken.

    Args:
        plan: of the space, within the budget; it may be free itself.
        taken: plans of the space.
    """
    if space.size <= ENUMERABLE:
        return _of_all(space, plan, budget, taken)
    found = _by_steps(space, plan, budget, taken)
    if found is not None:
        return found
    rng = np.random.default_rng(len(taken))
    drawn = (space.random_plan(rng, budget) for _ in range(DRAWS))
    return next((other for other in drawn if other not in taken), None)


def _of_all(space: RankSpace, plan: RankPlan, budget: Budget, taken: Collection[RankPlan]) -> RankPlan | None:
    places = np.unravel_index(np.arange(space.size), [len(options) for options in space.layers])
    population = np.stack(places, axis=1).astype(np.int64)
    population = population[_within(space, population, budget)]
    steps = _steps(space, plan)
    away = sum((step[rows] for step, rows in zip(steps, population.T, strict=True)), np.zeros(len(population)))
    ordered = (space.plan(population[i]) for i in np.argsort(away, kind="stable"))
    return next((other for other in ordered if other not in taken), None)


def _by_steps(space: RankSpace, plan: RankPlan, budget: Budget, taken: Collection[RankPlan]) -> RankPlan | None:
    steps = _steps(space, plan)
    start = tuple(space.indices(plan).tolist())
    reached, waiting = {start}, [(0.0, start)]
    for _ in range(POPPED):
        if not waiting:
            return None
        _, rows = heapq.heappop(waiting)
        found = space.plan(np.array(rows))
        if found not in taken:
            return found
        beside = [
            (*rows[:layer], row, *rows[layer + 1 :])
            for layer in range(len(rows))
            for row in _beside(space, layer, rows[layer])
        ]
        new = [other for other in dict.fromkeys(beside) if other not in reached]
        reached.update(new)
        for other, inside in zip(new, _within(space, np.array(new), budget) if new else [], strict=True):
            if inside:
                heapq.heappush(waiting, (sum(float(s[row]) for s, row in zip(steps, other, strict=True)), other))
    return None


def _beside(space: RankSpace, layer: int, row: int) -> list[int]:
    """Options of a layer to go to: the nearest ones, those one step away, and the cheapest, from where all is open."""
    options = space.layers[layer]
    nearest = np.argsort(moves.distances(options, row), kind="stable")[: NEAREST + 1].tolist()
    cheapest = options.costs.argmin(axis=0).tolist()
    return [other for other in dict.fromkeys([*nearest, *space.adjacent(layer, row), *cheapest]) if other != row]


def _steps(space: RankSpace, plan: RankPlan) -> list[FloatArray]:
    """The distance of every option of every layer from the plan's."""
    rows = space.indices(plan).tolist()
    return [moves.distances(options, row) for options, row in zip(space.layers, rows, strict=True)]


def _within(space: RankSpace, population: IntArray, budget: Budget) -> NDArray[np.bool_]:
    """Which plans of a population are within the budget, ``[plans]``."""
    limits = budget.limits(space.dense_cost)
    columns = [space.metric_names.index(metric) for metric in budget.metrics]
    inside: NDArray[np.bool_] = np.all(space.costs(population)[:, columns] <= np.array(list(limits.values())), axis=1)
    return inside
