"""What a few seeds say about a method: a mean and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from rank_search.errors import InvalidInputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` seeds and its 95 % interval, ``mean ± half_width`` (NaN for one seed: it has no spread)."""

    mean: float
    half_width: float
    n: int


def mean_interval(values: Iterable[float]) -> Interval:
    """The mean with its 95 % Student-t interval, ``t(0.975, n - 1) * s / sqrt(n)``.

    Why not a percentile bootstrap: with 3 seeds it can draw only 10 different resamples, never leaves the range of the
    3 values, and is far too narrow, covering the true mean about 3 times in 4 instead of 19 in 20. The t interval has
    the right coverage at any n if the seeds are roughly normal, and is honestly wide (4.30 standard errors at n = 3).

    Args:
        values: one number per seed, any unit; the result has the same unit.

    Returns:
        The interval; ``half_width`` is NaN for a single value.

    Raises:
        InvalidInputError: if there is no value, or one is NaN or infinite (a missing seed is never skipped silently).
    """
    array = np.asarray(list(values), dtype=np.float64)
    if array.size == 0:
        raise InvalidInputError("cannot average over no values; give at least one number")
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidInputError(
            f"cannot average {array.size} values: number {place + 1} is {array[place]}; leave failed seeds out first"
        )
    mean = float(array.mean())
    if array.size == 1:
        return Interval(mean, math.nan, 1)
    quantile = float(stdtrit(array.size - 1, 0.5 + CONFIDENCE / 2))
    return Interval(mean, quantile * float(array.std(ddof=1)) / math.sqrt(array.size), int(array.size))
