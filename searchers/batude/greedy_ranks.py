"""The greedy budget step: which singular values of all layers go, so that what is left fits the budget.

Per layer a path leads from all ranks full down to the smallest: at each of its steps the mode whose last kept singular
value loses the least per cost saved drops it, and the other mode is keyed anew, for the cost of Tucker-2 is bilinear.
Over the layers a heap takes the next piece of the path that loses the least per cost saved. Pieces are those of the
path's lower convex hull, the dense layer its first point: so a layer is left dense until going below it pays (near
break-even a factorised layer loses without saving anything), and a large singular value does not hide the small ones
behind it. (The heap is that of BATUDE as reconstructed in docs/methods.md; dense as an option and the hull are ours.)
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rank_search.arrays import FloatArray, IntArray

Ranks = tuple[int, ...]
DENSE_RANKS: Ranks = ()
"""Stands for a layer that is left dense."""


@dataclass(frozen=True)
class RankTable:
    """What the ranks of one layer lose and cost, as grids over one rank or two; index 0 of an axis is rank 0.

    Args:
        lost: ``[k + 1]`` or ``[k1 + 1, k2 + 1]``: what is lost at those ranks; falling, 0 at the end.
        costs: the same shape with one more axis, the metrics.
        dense: ``[metrics]``, cost of the dense layer, which loses nothing.
        possible: which ranks a factorisation can have.
        offered: which ranks may be chosen.
        complete: whether only ranks that cost as much as the dense layer are left out. In a thinned table the path's
            points are, instead of single steps, the offered ranks that no cheaper ones beat.
    """

    lost: FloatArray
    costs: FloatArray
    dense: FloatArray
    possible: NDArray[np.bool_]
    offered: NDArray[np.bool_]
    complete: bool


def greedy_ranks(tables: Sequence[RankTable], capacity: FloatArray) -> list[Ranks] | None:
    """Ranks of every layer, together within the capacity.

    With several metrics the cost of a step is the sum of its costs in those still over their capacity, each as a
    fraction of it. One that comes to fit on the way of another should not have counted: so each metric is also tried
    alone first, and the least loss is taken.

    Args:
        tables: of the layers.
        capacity: ``[metrics]`` for all layers together.

    Returns:
        Ranks per layer, ``()`` for dense; None when it met no selection that fits.
    """
    dense = np.sum([table.dense for table in tables], axis=0)
    over = np.flatnonzero(dense > capacity)
    firsts: list[list[int]] = [over.tolist(), *([metric] for metric in over.tolist() if len(over) > 1)]
    found = [_from_dense(tables, capacity, first) for first in firsts]
    fitting = [(lost, i) for i, (lost, ranks) in enumerate(found) if ranks is not None]
    return found[min(fitting)[1]][1] if fitting else None


def _from_dense(
    tables: Sequence[RankTable], capacity: FloatArray, first: Sequence[int]
) -> tuple[float, list[Ranks] | None]:
    """What is lost and the ranks, going down for the metrics ``first``, then for all that are still over."""
    chosen: list[Ranks] = [DENSE_RANKS] * len(tables)
    total = np.sum([table.dense for table in tables], axis=0)
    descents: list[_Descent] = []
    counted = np.isin(np.arange(len(capacity)), first)
    met: set[tuple[Ranks, ...]] = set()
    while (total > capacity).any():
        over = (total > capacity) & counted
        counted = np.ones(len(capacity), dtype=bool)
        if not over.any():
            continue
        weights = np.where(over, 1 / np.maximum(capacity, 1), 0.0)
        descents = [_Descent(table, here, weights) for table, here in zip(tables, chosen, strict=True)]
        before = total
        total = _descend(descents, total, capacity, over)
        if (total == before).all():
            return np.inf, None
        if (total <= capacity).all():
            _fill(descents, total, capacity)
        chosen = [descent.ranks for descent in descents]
        if tuple(chosen) in met:  # the metrics pull to and fro
            return np.inf, None
        met.add(tuple(chosen))
    return sum(descent.lost for descent in descents), chosen


def _descend(
    descents: Sequence[_Descent], total: FloatArray, capacity: FloatArray, over: NDArray[np.bool_]
) -> FloatArray:
    """Takes the pieces of least loss per saving until one of the metrics that were over fits."""
    heap = [(descent.slope, i) for i, descent in enumerate(descents) if descent.left]
    heapq.heapify(heap)
    while heap and not (total <= capacity)[over].any():
        _, i = heapq.heappop(heap)
        descent = descents[i]
        total = total - descent.cost
        enough = _any_within((capacity - total)[over], over)
        descent.advance(enough)
        total = total + descent.cost
        if descent.left:
            heapq.heappush(heap, (descent.slope, i))
    return total


def _any_within(room: FloatArray, over: NDArray[np.bool_]) -> Callable[[FloatArray], bool]:
    """Whether costs of one layer leave some of the metrics that were over within their capacity."""
    return lambda costs: bool((costs[over] <= room).any())


def _fill(descents: Sequence[_Descent], total: FloatArray, capacity: FloatArray) -> None:
    """Takes back steps of the paths while that fits, the greatest gain first."""
    while True:
        gains = [descent.best_return(capacity - total) for descent in descents]
        best = max(range(len(gains)), key=lambda i: gains[i][0])
        gain, at = gains[best]
        if gain <= 0:
            return
        total = total - descents[best].cost
        descents[best].at = at
        total = total + descents[best].cost


class _Descent:
    """One layer's path down from where it stands, and how far it has gone."""

    def __init__(self, table: RankTable, start: Ranks, weights: FloatArray) -> None:
        scalar = table.costs @ weights
        here = table.dense if start == DENSE_RANKS else table.costs[start]
        lost = 0.0 if start == DENSE_RANKS else float(table.lost[start])
        points = _path(table, start, scalar) if table.complete else _staircase(table, scalar)
        cost = scalar[tuple(points.T)]
        keep = cost < float(here @ weights)
        points, cost = points[keep], cost[keep]
        self._points: list[Ranks] = [start, *map(tuple, points.tolist())]
        self._costs: FloatArray = np.concatenate([here[None], table.costs[tuple(points.T)]])
        self._lost: FloatArray = np.concatenate([[lost], table.lost[tuple(points.T)]])
        self._scalar: FloatArray = np.concatenate([[float(here @ weights)], cost])
        self._corners = _lower_hull(self._scalar[0] - self._scalar, self._lost)
        self._next = 1
        self.at = 0

    @property
    def left(self) -> bool:
        """Whether the path goes on."""
        return self._next < len(self._corners)

    @property
    def slope(self) -> float:
        """Loss per cost saved of the next piece."""
        before, after = self._corners[self._next - 1], self._corners[self._next]
        return float((self._lost[after] - self._lost[before]) / (self._scalar[before] - self._scalar[after]))

    @property
    def ranks(self) -> Ranks:
        return self._points[self.at]

    @property
    def cost(self) -> FloatArray:
        found: FloatArray = self._costs[self.at]
        return found

    @property
    def lost(self) -> float:
        return float(self._lost[self.at])

    def advance(self, enough: Callable[[FloatArray], bool]) -> None:
        """Goes to the end of the next piece, or, where less of it is enough, to its point of least loss that is."""
        start, end = self._corners[self._next - 1], self._corners[self._next]
        self._next += 1
        inside = [at for at in range(start + 1, end) if enough(self._costs[at])] if enough(self._costs[end]) else []
        self.at = min([end, *inside], key=lambda at: self._lost[at])

    def best_return(self, room: FloatArray) -> tuple[float, int]:
        """The greatest gain of a point further up that fits the room, and which."""
        fits = (self._costs[: self.at] - self.cost <= room).all(1)
        gains = np.where(fits, self._lost[self.at] - self._lost[: self.at], 0.0)
        if not len(gains):
            return 0.0, self.at
        best = int(np.argmax(gains))
        return float(gains[best]), best


def _path(table: RankTable, start: Ranks, scalar: FloatArray) -> IntArray:
    """The ranks on the way down, ``[points, modes]``, single steps; only those offered."""
    full = tuple(size - 1 for size in table.lost.shape)
    top = full if start == DENSE_RANKS else start
    if len(full) == 1:
        ranks: IntArray = np.arange(top[0], 0, -1, dtype=np.int64)
        return ranks[table.offered[ranks]][:, None]
    out, into = top
    points = [top]
    while True:
        keys = [
            _key(table, scalar, (out, into), (out - 1, into)),
            _key(table, scalar, (out, into), (out, into - 1)),
        ]
        if min(keys) == np.inf:
            break
        out, into = (out - 1, into) if keys[0] <= keys[1] else (out, into - 1)
        points.append((out, into))
    line: IntArray = np.array(points, dtype=np.int64)
    offered: IntArray = line[table.offered[tuple(line.T)]]
    return offered


def _key(table: RankTable, scalar: FloatArray, here: Ranks, there: Ranks) -> float:
    """Loss per cost saved of a step; inf where it cannot be taken."""
    if not min(there) or not table.possible[there]:
        return np.inf
    saved = scalar[here] - scalar[there]
    return float((table.lost[there] - table.lost[here]) / saved) if saved > 0 else np.inf


def _staircase(table: RankTable, scalar: FloatArray) -> IntArray:
    """The offered ranks that none cheaper beats, ``[points, modes]``, by falling cost."""
    offered = np.argwhere(table.offered)
    at = tuple(offered.T)
    order = np.lexsort((table.lost[at], scalar[at]))
    lost = table.lost[at][order]
    best = np.minimum.accumulate(np.concatenate([[np.inf], lost[:-1]]))
    found: IntArray = offered[order[lost < best]][::-1]
    return found


def _lower_hull(x: FloatArray, y: FloatArray) -> list[int]:
    """The corners of the lower convex hull of points by rising x, the first and the last among them."""
    corners: list[int] = []
    for i in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return corners
