"""Friedman's test and Nemenyi's critical difference over blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy import stats

LEVEL = 0.05
ROUNDING = 12  # decimals, below which numbers differ only in how they were summed


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of the searchers over blocks (a task and a budget each), 1 is best.

    Attributes:
        ranks: by searcher, the best first.
        blocks: how many.
        p: of Friedman's test that all searchers are alike; NaN for fewer than three searchers or two blocks.
        critical_difference: mean ranks that differ by more differ at the 5 % level (Nemenyi, 1963; Demsar, JMLR 2006).
        not_worse: searchers that Nemenyi's test does not tell from the first.
        iman_davenport_p: of the F statistic of Iman and Davenport (1980), less conservative than ``p``; NaN as ``p``.
    """

    ranks: dict[str, float]
    blocks: int
    p: float
    critical_difference: float
    not_worse: tuple[str, ...]
    iman_davenport_p: float = math.nan

    @property
    def can_tell(self) -> bool:
        """Whether so many blocks could tell any of so many searchers apart, were the order the same in each."""
        return can_tell(len(self.ranks), self.blocks)

    @property
    def tells(self) -> bool:
        """Whether Friedman's test tells the searchers from chance at 5 %, with enough blocks."""
        return self.can_tell and self.p <= LEVEL

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The longest runs of neighbours, two or more, whose mean ranks differ by no more than the critical difference.

        They may overlap: what is in one is not told apart.
        """
        names, found, reached = list(self.ranks), [], 0
        for start, name in enumerate(names):
            end = max(
                place + 1
                for place in range(start, len(names))
                if self.ranks[names[place]] - self.ranks[name] <= self.critical_difference
            )
            if end - start > 1 and end > reached:
                found.append(tuple(names[start:end]))
            reached = max(reached, end)
        return tuple(found)


def rank_blocks(losses: Mapping[str, Sequence[float]]) -> Ranking | None:
    """Ranks searchers in every block, and compares their mean ranks; None for fewer than two searchers.

    Args:
        losses: per searcher a number per block, the same blocks for all; lower is better.
    """
    names = list(losses)
    if len(names) < 2 or not len(losses[names[0]]):
        return None
    table = np.round(np.array([losses[name] for name in names], dtype=np.float64).T, ROUNDING)
    ranks = stats.rankdata(table, axis=1).mean(0)
    order = np.argsort(ranks, kind="stable")
    blocks, searchers = table.shape
    enough = searchers >= 3 and blocks >= 2 and bool((table != table[:, :1]).any())
    statistic, p = stats.friedmanchisquare(*table.T) if enough else (math.nan, math.nan)
    return Ranking(
        {names[i]: float(ranks[i]) for i in order},
        blocks,
        float(p),
        critical_difference(searchers, blocks),
        tuple(names[i] for i in order if _p_against_first(table, int(order[0]), int(i)) > LEVEL),
        _iman_davenport_p(float(statistic), blocks, searchers),
    )


def critical_difference(searchers: int, blocks: int) -> float:
    """``q sqrt(k (k + 1) / (6 N))``, q the Studentized range's quantile over the root of two."""
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, searchers, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(searchers * (searchers + 1) / (6 * blocks))


def least_p(searchers: int, blocks: int) -> float:
    """The p of Friedman's test where all blocks have the same order: the statistic is ``N (k - 1)``, its largest."""
    return float(stats.chi2.sf(blocks * (searchers - 1), searchers - 1))


def can_tell(searchers: int, blocks: int) -> bool:
    """Whether one order in every block would be told: by Friedman's test, and its ends (``k - 1``) by Nemenyi's."""
    return least_p(searchers, blocks) <= LEVEL and critical_difference(searchers, blocks) < searchers - 1


def fewest_blocks(searchers: int) -> int:
    """The least number of blocks that can tell two or more searchers apart."""
    return next(blocks for blocks in count(1) if can_tell(searchers, blocks))


def _iman_davenport_p(chi_square: float, blocks: int, searchers: int) -> float:
    """``F = (N - 1) chi2 / (N (k - 1) - chi2)`` with ``k - 1`` and ``(k - 1) (N - 1)`` degrees of freedom."""
    if math.isnan(chi_square):
        return math.nan
    left = blocks * (searchers - 1) - chi_square
    if left <= 1e-9 * chi_square:  # the same order in every block
        return 0.0
    f = (blocks - 1) * chi_square / left
    return float(stats.f.sf(f, searchers - 1, (searchers - 1) * (blocks - 1)))


def _p_against_first(table: np.ndarray[tuple[int, ...], np.dtype[np.float64]], best: int, other: int) -> float:
    """Nemenyi's p value (scikit-posthocs) of two columns among all."""
    if best == other:
        return 1.0
    import scikit_posthocs

    return float(scikit_posthocs.posthoc_nemenyi_friedman(table).to_numpy()[best, other])
