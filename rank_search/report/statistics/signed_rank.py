"""Wilcoxon's signed-rank test, exact for any number of pairs, with ties."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from scipy import stats

FEWEST = 6
"""Pairs, from which on the two-sided test can reach 5 %: 2 / 2^5 is .0625, 2 / 2^6 is .031."""
ROUNDING = 12  # decimals, below which differences differ only in how they were summed


def signed_rank_p(differences: Iterable[float]) -> float:
    """The two-sided p value of Wilcoxon's signed-rank test (Biometrics Bulletin 1945).

    Exact, given the ranks: all signs are equally likely, ties have their mean rank. Differences of zero are left out.

    Args:
        differences: one per pair.

    Returns:
        NaN if no pair differs.
    """
    array = np.round(np.asarray(list(differences), dtype=np.float64), ROUNDING)
    array = array[array != 0]
    if array.size == 0:
        return math.nan
    doubled = np.round(2 * stats.rankdata(np.abs(array))).astype(int)  # mean ranks are whole or half
    chances = np.zeros(doubled.sum() + 1)
    chances[0] = 1.0
    for rank in doubled:
        chances[rank:] += chances[:-rank].copy()
        chances /= 2
    less = min(int(doubled[array > 0].sum()), int(doubled[array < 0].sum()))
    return min(1.0, 2 * float(chances[: less + 1].sum()))


def least_p(pairs: int) -> float:
    """The least that the two-sided test can give for so many pairs, none of which is a tie: all on one side."""
    return 2.0 ** (1 - pairs) if pairs else math.nan
