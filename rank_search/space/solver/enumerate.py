"""A small knapsack by enumeration: every selection's value and cost as outer sums, the best of those that fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from rank_search.arrays import FloatArray, IntArray

MOST = 100_000  # selections; as fast as the dual and its repairs


def few(values: Sequence[FloatArray]) -> bool:
    """Whether there are few enough selections."""
    return math.prod(len(value) for value in values) <= MOST


def enumerated(values: Sequence[FloatArray], costs: Sequence[FloatArray], capacity: FloatArray) -> IntArray | None:
    """The selection of least value that fits, the first of equals in the order of options; None where none fits.

    Args:
        values: per layer ``[n_l]``, not finite where an option must not be taken.
        costs: per layer ``[n_l, metrics]``.
        capacity: ``[metrics]``.
    """
    total = _outer_sum([np.where(np.isfinite(value), value, np.inf) for value in values])
    for metric, most in enumerate(capacity.tolist()):
        total = np.where(_outer_sum([cost[:, metric] for cost in costs]) <= most, total, np.inf)
    best = int(np.argmin(total))
    if not np.isfinite(total[best]):
        return None
    return np.array(np.unravel_index(best, [len(value) for value in values]), dtype=np.int64)


def _outer_sum(parts: Sequence[FloatArray]) -> FloatArray:
    """Of one number of every part, the last part changing fastest."""
    return reduce(lambda total, part: np.add.outer(total, part).ravel(), parts)
