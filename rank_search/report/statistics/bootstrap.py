"""The bootstrap interval of a mean, beside Student's t."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from scipy import stats

from rank_search.errors import InvalidInputError
from rank_search.report.statistics.interval import CONFIDENCE

RESAMPLES = 2000


def bootstrap_interval(values: Iterable[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % BCa interval (Efron, JASA 1987) of the mean; where it is not defined, the percentile interval.

    It is not told as the interval of a report: of few seeds it is too narrow (see ``mean_interval``). It assumes no
    distribution, and is not symmetric.

    Args:
        values: one number per seed.
        seed: of the resampling.

    Returns:
        The least and the greatest, in the unit of the values; NaN for a single value.

    Raises:
        InvalidInputError: if there is no value, or one is NaN or infinite.
    """
    array = np.asarray(list(values), dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise InvalidInputError(f"cannot resample {array.tolist()}: give at least one number, all of them finite")
    if array.size == 1:
        return math.nan, math.nan
    if (array == array[0]).all():
        return float(array[0]), float(array[0])
    low, high = _interval(array, "BCa", seed)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else _interval(array, "percentile", seed)


def _interval(array: np.ndarray[tuple[int, ...], np.dtype[np.float64]], method: str, seed: int) -> tuple[float, float]:
    found = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method=method,
        random_state=np.random.default_rng(seed),
        vectorized=True,
    ).confidence_interval
    return float(found.low), float(found.high)
