"""Friedman's test and Nemenyi's critical difference over tasks and budgets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from rank_search.report.regret.summary import blocks_of

LEVEL = 0.05


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of the searchers over blocks (a task and a budget each), 1 is best.

    Attributes:
        ranks: by searcher, the best first.
        blocks: how many.
        p: of Friedman's test that all searchers are alike; NaN for fewer than three searchers or two blocks.
        critical_difference: mean ranks that differ by more differ at the 5 % level (Nemenyi, 1963; Demsar, JMLR 2006).
        not_worse: searchers that Nemenyi's test does not tell from the first.
    """

    ranks: dict[str, float]
    blocks: int
    p: float
    critical_difference: float
    not_worse: tuple[str, ...]


def ranking(frame: pd.DataFrame, column: str) -> Ranking | None:
    """Ranks by the mean regret over seeds in every block; None for fewer than two searchers.

    Args:
        frame: as read.
        column: such as ``regret_64``.
    """
    found = blocks_of(frame, column)
    if len(found) < 2:
        return None
    table = np.array([[values.mean() for values in blocks.values()] for blocks in found.values()]).T
    ranks = stats.rankdata(np.round(table, 12), axis=1).mean(0)
    order = np.argsort(ranks, kind="stable")
    names = list(found)
    count, blocks = len(names), len(table)
    enough = count >= 3 and blocks >= 2
    p = float(stats.friedmanchisquare(*table.T).pvalue) if enough else math.nan
    return Ranking(
        {names[i]: float(ranks[i]) for i in order},
        blocks,
        p,
        critical_difference(count, blocks),
        tuple(names[i] for i in order if _p_against_first(table, int(order[0]), int(i)) > LEVEL),
    )


def critical_difference(searchers: int, blocks: int) -> float:
    """``q sqrt(k (k + 1) / (6 N))``, q the Studentized range's quantile over the root of two."""
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, searchers, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(searchers * (searchers + 1) / (6 * blocks))


def _p_against_first(table: np.ndarray[tuple[int, ...], np.dtype[np.float64]], best: int, other: int) -> float:
    """Nemenyi's p value (scikit-posthocs) of two columns among all."""
    if best == other:
        return 1.0
    import scikit_posthocs

    return float(scikit_posthocs.posthoc_nemenyi_friedman(np.round(table, 12)).to_numpy()[best, other])
