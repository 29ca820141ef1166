"""What a ranking over blocks (tasks x budgets) says in words, and what it cannot say."""

from __future__ import annotations

from rank_search.report.statistics.friedman import LEVEL, Ranking, fewest_blocks, least_p
from rank_search.report.tables.pairs import p_words


def too_few_words(ranking: Ranking) -> str:
    """Why so few blocks rank nobody, and how many would do; for rankings that ``can_tell`` nothing."""
    searchers, blocks = len(ranking.ranks), ranking.blocks
    many = f"{blocks} blocks (tasks x budgets) are" if blocks > 1 else "1 block (a task and a budget) is"
    return (
        f"{many} too few to rank {searchers} searchers: even the same order in every block would have Friedman's "
        f"{p_words(least_p(searchers, blocks))} and a critical difference of {ranking.critical_difference:.2f} between "
        f"mean ranks that differ by {searchers - 1} at most. At least {fewest_blocks(searchers)} blocks are needed."
    )


def not_told_words(ranking: Ranking) -> str:
    """For rankings that Friedman's test does not tell from chance."""
    return (
        f"Over {ranking.blocks} tasks x budgets the mean ranks of {len(ranking.ranks)} searchers are not told apart at "
        f"{100 * LEVEL:.0f} % (Friedman's {p_words(ranking.p)}): none is shown to be first over all of them."
    )
