"""Mean ranks over tasks and budgets, as a table."""

from __future__ import annotations

import pandas as pd

from rank_search.report.statistics.friedman import Ranking
from rank_search.report.tables.table import Column, Table


def mean_ranks_table(ranking: Ranking) -> Table:
    """The searchers that have every block, the best first."""
    names = tuple(ranking.ranks)
    numbers = pd.DataFrame(
        {
            "searcher": names,
            "mean_rank": list(ranking.ranks.values()),
            "blocks": ranking.blocks,
            "critical_difference": ranking.critical_difference,
            "friedman_p": ranking.p,
            "iman_davenport_p": ranking.iman_davenport_p,
            "told_from_the_first": [name not in ranking.not_worse for name in names],
        }
    )
    columns = (
        Column("searcher\n", names, numeric=False),
        Column("mean\nrank", tuple(f"{rank:.2f}" for rank in ranking.ranks.values())),
    )
    title = f"mean ranks over {ranking.blocks} tasks x budgets"
    return Table(title, columns, tuple("" for _ in names), "mean_ranks", numbers)
