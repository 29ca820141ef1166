"""Who is told from whom over tasks and budgets: mean ranks and Nemenyi's critical difference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rank_search.report.ranking_words import too_few_words
from rank_search.report.statistics.friedman import LEVEL, Ranking

FEWEST_SEARCHERS, FEWEST_BLOCKS = 3, 2


@dataclass(frozen=True)
class CriticalDifference:
    """The diagram of Demsar (JMLR 2006).

    Attributes:
        title: above all.
        x_label: of the axis of ranks, 1 is best.
        ranks: by searcher, the best first.
        difference: mean ranks that differ by more are told apart.
        difference_label: beside the bar of that length.
        groups: searchers, side by side in ``ranks``, that are not told apart.
        notes: sentences below.
    """

    title: str
    x_label: str
    ranks: Mapping[str, float]
    difference: float
    difference_label: str
    groups: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def alike(self, searcher: str) -> tuple[str, ...]:
        """The others that it is not told apart from, the best first."""
        near = {name for group in self.groups if searcher in group for name in group} - {searcher}
        return tuple(name for name in self.ranks if name in near)


def critical_difference_figure(
    ranking: Ranking | None, what: str, left_out: Iterable[str]
) -> CriticalDifference | None:
    """The figure, or None for fewer than three searchers or two blocks.

    Args:
        ranking: of the searchers that have every block.
        what: that is ranked, e.g. ``measure after fine-tuning``.
        left_out: searchers that lack a block.
    """
    if ranking is None or len(ranking.ranks) < FEWEST_SEARCHERS or ranking.blocks < FEWEST_BLOCKS:
        return None
    absent = ", ".join(left_out)
    told = ranking.tells
    p = "not defined, all are equal" if math.isnan(ranking.p) else f"p = {ranking.p:.2g}"
    tested = [
        f"Friedman's test over {ranking.blocks} tasks x budgets: {p}. Bars join searchers that Nemenyi's test does not "
        f"tell apart at {100 * LEVEL:.0f} %.",
        *([] if told else ["Friedman's test does not tell them apart: read no order from the ranks."]),
    ]
    notes = [
        *(tested if ranking.can_tell else [too_few_words(ranking), "Read no order from the ranks."]),
        *([f"Without a number in every block, and so not ranked: {absent}."] if absent else []),
    ]
    return CriticalDifference(
        title=f"mean ranks by {what}",
        x_label="Mean rank (1 is best)",
        ranks=ranking.ranks,
        difference=ranking.critical_difference,
        difference_label=f"critical difference {ranking.critical_difference:.2f}",
        groups=ranking.groups if told else (tuple(ranking.ranks),),
        notes=tuple(notes),
    )
