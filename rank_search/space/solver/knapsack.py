"""A multiple-choice knapsack: one option per layer, least total value, no total cost above its capacity.

    min sum_l v_l(o_l)   s.t.   sum_l c_l(o_l) <= B

The Lagrangian dual ``g(lambda) = sum_l min_o (v + lambda c) - lambda B`` is concave, piecewise linear and a LOWER BOUND
on the optimum (Everett, 1963; Shoham and Gersho, 1988). It is maximised by cutting planes (Kelley, 1960), exactly and
for any number of metrics; the selections met on the way are repaired, filled up and improved by exchanges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.solver.enumerate import enumerated, few
from rank_search.space.solver.finish import finish

MAX_CUTS = 300
NEAR = 16


@dataclass(frozen=True)
class Solution:
    """Args:
    indices: the chosen option of every layer, ``[layers]``.
    value: their total value.
    lower_bound: no feasible selection has a smaller total value; ``value`` itself where the optimum is proven.
    """

    indices: IntArray
    value: float
    lower_bound: float


def solve(values: Sequence[FloatArray], costs: Sequence[FloatArray], capacity: FloatArray) -> Solution | None:
    """Solves the knapsack to a small, certified gap; with one metric nearly always exactly.

    Args:
        values: per layer ``[n_l]``, of any sign, inf where an option must not be taken.
        costs: per layer ``[n_l, metrics]``, whole numbers.
        capacity: ``[metrics]``.

    Returns:
        The best selection found, or None when there is no feasible one (with several metrics: by ``milp``'s proof).
    """
    least = [float(np.min(value, initial=np.inf, where=np.isfinite(value))) for value in values]
    if not np.isfinite(least).all():  # a layer without an allowed option
        return None
    if few(values):
        found = enumerated(values, costs, capacity)
        if found is None:
            return None
        exact = float(sum(layer[row] for layer, row in zip(values, found, strict=True)))
        return Solution(found, exact, exact)
    problem = _Problem([value - low for value, low in zip(values, least, strict=True)], costs, capacity)
    dual = _maximise_dual(problem)
    near = problem.nearest(dual.multiplier)
    best: IntArray | None = None
    for start in dual.selections:
        repaired = start if problem.fits(start) else problem.repair(start)
        if repaired is not None:
            improved = problem.exchange(problem.fill(repaired), near)
            if best is None or problem.value(improved) < problem.value(best):
                best = improved
    if best is None:
        best = problem.any_fitting()
    if best is None:
        return None
    better = problem.finish(best, dual.multiplier)
    proven = better is not None
    if better is not None:
        best = better
    indices = problem.option[best]
    value = float(sum(layer[row] for layer, row in zip(values, indices, strict=True)))
    return Solution(indices, value, value if proven else min(dual.bound + sum(least), value))


def improve(
    values: Sequence[FloatArray],
    costs: Sequence[FloatArray],
    capacity: FloatArray,
    start: IntArray,
    multiplier: FloatArray,
) -> IntArray | None:
    """A feasible selection near a given one: repaired, filled up, improved by exchanges; no bound, no proof.

    Args:
        values, costs, capacity: as in :func:`solve`.
        start: per layer the option to start from.
        multiplier: ``[metrics]``, value per cost as a fraction of its capacity: exchanges look only at options of least
            value plus cost at that price.

    Returns:
        Per layer the option, or None when greedy repair found nothing that fits.
    """
    problem = _Problem(values, costs, capacity)
    selection = problem.rows_of(start, values, costs)
    if not problem.fits(selection):
        repaired = problem.repair(selection)
        if repaired is None:
            return None
        selection = repaired
    found: IntArray = problem.option[problem.exchange(problem.fill(selection), problem.nearest(multiplier))]
    return found


class _Problem:
    """The options of all layers in one row; a selection is an array of row positions, one per layer."""

    def __init__(self, values: Sequence[FloatArray], costs: Sequence[FloatArray], capacity: FloatArray) -> None:
        keep = [_undominated(value, cost) for value, cost in zip(values, costs, strict=True)]
        self.counts = np.array([len(rows) for rows in keep])
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        self.layer = np.repeat(np.arange(len(keep)), self.counts)
        self.option: IntArray = np.concatenate(keep)
        self.values = np.concatenate([value[rows] for value, rows in zip(values, keep, strict=True)])
        self.costs = np.concatenate([cost[rows] for cost, rows in zip(costs, keep, strict=True)]).astype(np.float64)
        self.capacity = capacity.astype(np.float64)
        self.scale = np.maximum(self.capacity, 1.0)

    def rows_of(self, start: IntArray, values: Sequence[FloatArray], costs: Sequence[FloatArray]) -> IntArray:
        """The rows of given options; for one that was left out, that of least value no dearer, or else the cheapest."""
        rows = []
        for layer, option in enumerate(start.tolist()):
            inside = np.arange(self.starts[layer], self.starts[layer] + self.counts[layer])
            no_dearer = inside[(self.costs[inside] <= costs[layer][option]).all(1)]
            exact = inside[self.option[inside] == option]
            if len(exact):
                rows.append(exact[0])
            elif len(no_dearer):
                rows.append(no_dearer[np.argmin(self.values[no_dearer])])
            else:
                rows.append(inside[np.argmin((self.costs[inside] / self.scale).sum(1))])
        return np.array(rows, dtype=np.int64)

    def least(self, score: FloatArray) -> IntArray:
        """The first row of least score in every layer."""
        minima = np.minimum.reduceat(score, self.starts)
        hits = np.flatnonzero(score == minima[self.layer])
        return hits[np.unique(self.layer[hits], return_index=True)[1]]

    def value(self, selection: IntArray) -> float:
        return float(self.values[selection].sum())

    def cost(self, selection: IntArray) -> FloatArray:
        return self.costs[selection].sum(0)  # type: ignore[no-any-return]

    def fits(self, selection: IntArray) -> bool:
        return bool((self.cost(selection) <= self.capacity).all())

    def planes(self, selections: list[IntArray]) -> tuple[FloatArray, FloatArray]:
        """Slopes ``[k, metrics]``, heights ``[k]`` of the selections' planes ``height + slope lambda``."""
        slopes = np.array([(self.cost(selection) - self.capacity) / self.scale for selection in selections])
        return slopes, np.array([self.value(selection) for selection in selections])

    def repair(self, selection: IntArray) -> IntArray | None:
        """Takes the cheapest steps down, by value lost per relative violation removed, until the selection fits."""
        selection = selection.copy()
        while not self.fits(selection):
            over = self.cost(selection) - self.capacity
            left = np.maximum(over + self.costs - self.costs[selection][self.layer], 0)
            removed = ((np.maximum(over, 0) - left) / self.scale).sum(1)
            lost = np.maximum(self.values - self.values[selection][self.layer], 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                price = np.where(removed > 1e-15, lost / removed, np.inf)
            row = int(np.argmin(price))
            if not np.isfinite(price[row]):
                return None
            selection[self.layer[row]] = row
        return selection

    def any_fitting(self) -> IntArray | None:
        """Some selection that fits several capacities at once, or None: greedy repair can miss a tight one."""
        if len(self.scale) == 1 or (np.minimum.reduceat(self.costs, self.starts).sum(0) > self.capacity).any():
            return None
        from scipy.optimize import Bounds, LinearConstraint, milp  # half a second of import that few budgets need
        from scipy.sparse import csr_array

        one_per_layer = csr_array((np.ones(len(self.layer)), (self.layer, np.arange(len(self.layer)))))
        answer = milp(
            (self.costs / self.scale).sum(1),
            integrality=np.ones(len(self.layer)),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(one_per_layer, 1, 1),
                LinearConstraint((self.costs / self.scale).T, -np.inf, self.capacity / self.scale),
            ],
        )
        if answer.x is None:
            return None
        found: IntArray = np.flatnonzero(answer.x > 0.5)
        return self.fill(found) if len(found) == len(self.starts) and self.fits(found) else None

    def fill(self, selection: IntArray) -> IntArray:
        """Spends what is left of the capacity, by best value gained per relative cost."""
        selection = selection.copy()
        while True:
            gain = self.values[selection][self.layer] - self.values
            extra = self.costs - self.costs[selection][self.layer]
            allowed = (gain > 0) & (extra <= self.capacity - self.cost(selection)).all(1)
            if not allowed.any():
                return selection
            ratio = np.where(allowed, gain / np.maximum((np.maximum(extra, 0) / self.scale).sum(1), 1e-15), 0)
            row = int(np.argmax(ratio))
            selection[self.layer[row]] = row

    def nearest(self, multiplier: FloatArray) -> IntArray:
        """The ``NEAR`` rows of every layer with the least Lagrangian cost: an optimum hardly ever leaves them."""
        score = self.values + (self.costs / self.scale) @ multiplier
        order = np.lexsort((score, self.layer))
        near: IntArray = order[np.arange(len(order)) - self.starts[self.layer] < NEAR]
        return near

    def finish(self, selection: IntArray, multiplier: FloatArray) -> IntArray | None:
        """The optimum, where one metric and a small gap let it be proven; None elsewhere."""
        if len(self.scale) > 1:
            return None
        parts = np.split(np.arange(len(self.layer)), self.starts[1:])
        values = [self.values[part] for part in parts]
        costs = [self.costs[part, 0] for part in parts]
        found = finish(values, costs, self.capacity[0], multiplier[0] / self.scale[0], self.value(selection))
        if found is None:
            return None
        return self.starts + found if len(found) else selection

    def exchange(self, selection: IntArray, near: IntArray) -> IntArray:
        """Changes two layers at once, among the rows ``near``, while that lowers the value."""
        selection = selection.copy()
        elsewhere = self.layer[near][:, None] != self.layer[near][None, :]
        while True:
            room = self.capacity - self.cost(selection)
            change = (self.values - self.values[selection][self.layer])[near]
            extra = (self.costs - self.costs[selection][self.layer])[near]
            together = np.where(elsewhere, change[:, None] + change[None, :], np.inf)
            for metric, left in enumerate(room):
                together[extra[:, None, metric] + extra[None, :, metric] > left] = np.inf
            one, other = np.unravel_index(int(np.argmin(together)), together.shape)
            if together[one, other] >= -1e-12 * self.value(selection):
                return self.fill(selection)
            for row in near[[one, other]]:
                selection[self.layer[row]] = row


@dataclass(frozen=True)
class _Dual:
    """The maximum of the dual, the multiplier there, and the selections to start the search for a primal from."""

    bound: float
    multiplier: FloatArray
    selections: list[IntArray]


def _maximise_dual(problem: _Problem) -> _Dual:
    """Kelley's method: maximise the lower envelope of the cuts, add the cut of the selection that is least there."""
    metrics = len(problem.scale)
    free = problem.least(problem.values)
    if problem.fits(free):
        return _Dual(problem.value(free), np.zeros(metrics), [free])
    cheapest = [problem.least(problem.costs[:, metric] + 1e-12 * problem.values) for metric in range(metrics)]
    cuts = [free, *cheapest, problem.least((problem.costs / problem.scale).sum(1))]
    bound, best = -np.inf, np.zeros(metrics)
    for _ in range(MAX_CUTS):
        slopes, heights = problem.planes(cuts)
        multiplier, ceiling = _highest_point(slopes, heights)
        selection = problem.least(problem.values + (problem.costs / problem.scale) @ multiplier)
        slope, height = problem.planes([selection])
        reached = float(height[0] + slope[0] @ multiplier)
        if reached > bound:
            bound, best = reached, multiplier
        if reached >= ceiling - 1e-10 * abs(ceiling) or any((cut == selection).all() for cut in cuts):
            break
        cuts.append(selection)
    slopes, heights = problem.planes(cuts)
    touching = [cuts[i] for i in np.argsort(heights + slopes @ best, kind="stable")[: metrics + 2]]
    feasible = sorted((cut for cut in cuts if problem.fits(cut)), key=problem.value)[:1]
    return _Dual(bound, best, feasible + touching)


def _highest_point(slopes: FloatArray, heights: FloatArray) -> tuple[FloatArray, float]:
    """``max_{lambda >= 0} min_k heights_k + slopes_k lambda``: the multiplier and the value there."""
    metrics = slopes.shape[1]
    if metrics == 1:
        return _highest_on_a_line(slopes[:, 0], heights)
    unit = max(float(heights.max()), 1e-300)  # values of any size, but a well-scaled linear programme
    from scipy.optimize import linprog

    answer = linprog(
        c=[*np.zeros(metrics), -1.0],
        A_ub=np.hstack([-slopes, np.ones((len(slopes), 1))]),
        b_ub=heights / unit,
        bounds=[*[(0, 1e9)] * metrics, (None, None)],
        method="highs",
    )
    return np.maximum(answer.x[:-1], 0) * unit, float(-answer.fun) * unit


def _highest_on_a_line(slopes: FloatArray, heights: FloatArray) -> tuple[FloatArray, float]:
    """As :func:`_highest_point` for one metric: it lies at 0, or where a rising and a falling line meet."""
    rising, falling = slopes > 0, slopes < 0
    run = slopes[rising][:, None] - slopes[falling][None, :]
    meet = (heights[falling][None, :] - heights[rising][:, None]) / run
    at = np.concatenate([[0.0], np.maximum(meet.ravel(), 0.0)])
    values = (heights[:, None] + slopes[:, None] * at[None, :]).min(0)
    best = int(np.argmax(values))
    return at[best : best + 1], float(values[best])


def _undominated(values: FloatArray, costs: FloatArray) -> IntArray:
    """Rows that some multiplier could choose: with one metric, those that no cheaper row beats; finite always."""
    finite = np.flatnonzero(np.isfinite(values))
    if costs.shape[1] > 1:
        return finite
    order = finite[np.lexsort((values[finite], costs[finite, 0]))]
    least_before = np.concatenate([[np.inf], np.minimum.accumulate(values[order])[:-1]])
    return order[values[order] < least_before]
