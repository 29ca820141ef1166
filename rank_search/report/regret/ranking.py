"""Mean ranks by regret over tasks and budgets."""

from __future__ import annotations

import pandas as pd

from rank_search.report.regret.summary import blocks_of
from rank_search.report.statistics.friedman import LEVEL, Ranking, critical_difference, rank_blocks

__all__ = ["LEVEL", "Ranking", "critical_difference", "ranking"]


def ranking(frame: pd.DataFrame, column: str) -> Ranking | None:
    """Ranks by the mean regret over seeds in every block; None for fewer than two searchers.

    Args:
        frame: as read.
        column: such as ``regret_64``.
    """
    found = blocks_of(frame, column)
    return rank_blocks({name: [float(values.mean()) for values in blocks.values()] for name, blocks in found.items()})
