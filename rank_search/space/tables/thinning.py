"""Leaving options out of a layer's table without losing its ends."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from rank_search.arrays import FloatArray, IntArray

LEAST_OPTIONS = 4
"""Dense, the cheapest in params and in macs and the dearest: what :func:`evenly` never leaves out."""


def undominated(costs: IntArray, errors: FloatArray) -> IntArray:
    """Rows that no other one beats: none costs no more on every metric and errs no more. Row 0, dense, always stays.

    Of equal rows the first stays. Rows whose error is not finite go.

    Args:
        costs: ``[n, metrics]``.
        errors: ``[n]``.
    """
    costs = _different(costs)
    if costs.shape[1] > 2:
        return _pairwise(costs, errors)
    rows = np.flatnonzero(np.isfinite(errors[1:])) + 1
    rows = rows[np.lexsort((errors[rows], costs[rows, -1], costs[rows, 0]))]
    kept, second, least = [0], [-1], [np.inf]  # a staircase: rising second cost, falling error
    for row, cost, error in zip(rows.tolist(), costs[rows, -1].tolist(), errors[rows].tolist(), strict=True):
        at = bisect_right(second, cost)
        if least[at - 1] <= error:
            continue
        kept.append(row)
        start = bisect_left(second, cost)
        stop = at
        while stop < len(least) and least[stop] >= error:
            stop += 1
        second[start:stop], least[start:stop] = [cost], [error]
    return np.array(sorted(kept), dtype=np.int64)


def _different(costs: IntArray) -> IntArray:
    """The columns without those that are another one in another unit (bytes, where all weights are of one type)."""
    kept: list[int] = []
    for column in range(costs.shape[1]):
        twins = (costs[:, column] * costs[0, other] == costs[:, other] * costs[0, column] for other in kept)
        if not any(twin.all() for twin in twins):
            kept.append(column)
    return costs[:, kept]


def _pairwise(costs: IntArray, errors: FloatArray) -> IntArray:
    """:func:`undominated` for any number of metrics, row by row against those that are kept."""
    rows = np.flatnonzero(np.isfinite(errors[1:])) + 1
    rows = rows[np.lexsort((errors[rows], *costs[rows].T[::-1]))]
    kept = np.zeros(len(rows), dtype=np.int64)
    count = 0
    for row in rows:
        before = kept[:count]
        if not ((costs[before] <= costs[row]).all(1) & (errors[before] <= errors[row])).any():
            kept[count] = row
            count += 1
    return np.sort(np.concatenate([[0], kept[:count]])).astype(np.int64)


def on_grid(ranks: IntArray, free: NDArray[np.bool_], multiple: int) -> IntArray:
    """Rows of one form whose every rank is a multiple, or the smallest or largest that the form offers in that mode.

    Args:
        ranks: ``[n, modes]``.
        free: ``[modes]``, the modes that the rule leaves alone.
        multiple: 8 suits tensor cores.
    """
    if multiple == 1 or not len(ranks):
        return np.arange(len(ranks), dtype=np.int64)
    ends = (ranks == ranks.min(0)) | (ranks == ranks.max(0))
    return np.flatnonzero(((ranks % multiple == 0) | ends | free).all(1))


def evenly(costs: IntArray, limit: int) -> IntArray:
    """At most ``limit`` rows, evenly spaced in the order of cost: dense, both ends and the cheapest on every metric.

    Args:
        costs: ``[n, metrics]``, row 0 the dense layer's.
        limit: at least ``LEAST_OPTIONS``.
    """
    if len(costs) <= limit:
        return np.arange(len(costs), dtype=np.int64)
    size = (costs / np.maximum(costs[0], 1)).sum(1)
    order = np.argsort(size[1:], kind="stable") + 1
    kept = dict.fromkeys([0, *(order[np.argmin(costs[order, m])] for m in range(costs.shape[1])), order[-1]])
    spread = order[np.rint(np.linspace(0, len(order) - 1, max(0, limit - len(kept)) + 2)[1:-1]).astype(np.int64)]
    return np.unique([*kept, *spread]).astype(np.int64)
