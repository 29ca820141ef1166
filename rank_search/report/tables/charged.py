"""What each method was charged, as a table."""

from __future__ import annotations

import math

import pandas as pd

from rank_search.report.measure import ABSENT
from rank_search.report.tables.table import Column, Table

CHARGED = {
    "evaluations": "evaluations\n",
    "samples_forward": "samples\nforward",
    "samples_trained": "samples\ntrained",
    "search_seconds": "search\nseconds",
}
"""Columns of the leaderboard, and their headers."""


def charged_table(task: str, board: pd.DataFrame) -> Table:
    """Means over seeds of what the search of every method used, by budget and searcher.

    Args:
        task: its name.
        board: its rows of the leaderboard.
    """
    rows = board.loc[board["budget"] != ""]
    budgets = tuple(map(str, rows["budget"]))
    columns = (
        Column("budget\n", budgets, numeric=False),
        Column("searcher\n", tuple(map(str, rows["searcher"])), numeric=False),
        Column("seeds\n", tuple(str(int(count)) for count in rows["seeds_done"])),
        *(Column(header, tuple(map(_amount, rows[name]))) for name, header in CHARGED.items()),
    )
    numbers = rows[["task", "budget", "searcher", "seeds_done", *CHARGED]].reset_index(drop=True)
    return Table(f"{task}: charged to the searches", columns, budgets, f"charged_{task}", numbers)


def _amount(value: float) -> str:
    if math.isnan(value):
        return ABSENT
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"
