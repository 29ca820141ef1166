"""Two methods over the same blocks or seeds: how far apart they are, and how often each is ahead."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from rank_search.errors import InvalidInputError
from rank_search.report.statistics.interval import mean_interval
from rank_search.report.statistics.signed_rank import ROUNDING, signed_rank_p


@dataclass(frozen=True)
class Paired:
    """One method less another.

    Attributes:
        mean: of the differences; NaN without a pair.
        half_width: of its 95 % Student-t interval; NaN for fewer than two pairs.
        n: pairs.
        wins, ties, losses: pairs in which the first is better, equal, worse.
        t_p: of the paired t test, two-sided; NaN for fewer than two pairs, or where all differences are the same.
        rank_p: of Wilcoxon's signed-rank test, two-sided; NaN if no pair differs.
    """

    mean: float
    half_width: float
    n: int
    wins: int
    ties: int
    losses: int
    t_p: float
    rank_p: float


def paired(first: Iterable[float], second: Iterable[float], higher: bool = True) -> Paired:
    """Compares the numbers of two methods, pair by pair.

    Args:
        first, second: of each, in the same order.
        higher: whether higher numbers are better.

    Raises:
        InvalidInputError: if they are not as many, or one is not finite.
    """
    one, other = (np.asarray(list(values), dtype=np.float64) for values in (first, second))
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise InvalidInputError(
            f"cannot pair {one.tolist()} with {other.tolist()}: give as many numbers of both, all of them finite"
        )
    differences = np.round(one - other, ROUNDING)
    ahead = differences if higher else -differences
    counts = {"wins": int((ahead > 0).sum()), "ties": int((ahead == 0).sum()), "losses": int((ahead < 0).sum())}
    if not len(differences):
        return Paired(math.nan, math.nan, 0, **counts, t_p=math.nan, rank_p=math.nan)
    interval = mean_interval(differences)
    return Paired(
        interval.mean,
        interval.half_width,
        interval.n,
        **counts,
        t_p=_t_p(differences),
        rank_p=signed_rank_p(differences),
    )


def _t_p(differences: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    n = len(differences)
    if n < 2 or (differences == differences[0]).all():  # without spread there is no t
        return math.nan
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(n))
    return 2 * float(stdtr(n - 1, -abs(t)))
