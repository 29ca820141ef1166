"""Printing a leaderboard in a terminal, at 100 columns without a wrapped cell."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

HEADERS = (
    *("searcher", "budget", "kept\nMACs", "kept\nparams", "kept\ntime"),
    *("before\ntuning", "after, on\nvalidation", "after, on\ntest"),
    *("evals\n", "images\n(k)", "search\n(s)"),
)
NAMES = 2  # the first columns, of text; they give way when the console is narrow, the numbers do not
SHORTEST_NAME = 8
ABSENT = "–"
LEGEND = (
    "Kept cost and accuracy in %; time: of an image in a batch of 32. Accuracy: mean ± half width of",
    "the 95 % Student-t interval over seeds (before the fine-tune: mean).",
    "Images: those the search saw, forward and in training, in thousands.",
)


def render(board: pd.DataFrame, console: Console) -> None:
    """Prints a leaderboard: one table per task with a section per budget, then the failed cells, one line each.

    Args:
        board: what ``leaderboard`` returned.
        console: where to print; 100 columns are enough for budgets of two metrics. A narrower console shortens first
            the metrics of the budgets to their initials, then the names, and never the numbers.
    """
    for task, rows in board.groupby("task", sort=False):
        console.print(Text(str(task), style="bold"))
        console.print(_table(rows, console.width), crop=False)
        console.print()
    for line in LEGEND:
        console.print(Text(line, style="dim"))
    failures = [line for lines in board["failures"] for line in lines]
    if failures:
        plural = "s" * (len(failures) > 1)
        console.print(Text("2/3 beside a searcher: seeds done of those tried.", style="dim"))
        console.print(
            Text(f"\n{len(failures)} cell{plural} failed (results.csv has the whole reasons):", style="bold red")
        )
    for line in failures:
        console.print(Text(f"  {line}"), no_wrap=True, overflow="ellipsis")


def _table(rows: pd.DataFrame, width: int) -> Table:
    columns = [
        [_searcher(row) for _, row in rows.iterrows()],
        [budget or ABSENT for budget in rows["budget"]],
        [_percent(value) for value in rows["kept_macs"]],
        [_percent(value) for value in rows["kept_params"]],
        [ABSENT if math.isnan(value) else f"{100 * value:.0f}" for value in rows["kept_latency"]],
        [_percent(value) for value in rows["accuracy_before"]],
        *(_intervals(rows, accuracy) for accuracy in ("val_accuracy", "test_accuracy")),
        [_amount(value) for value in rows["evaluations"]],
        [_amount(value / 1000) for value in rows["samples_forward"] + rows["samples_trained"]],
        [_amount(value) for value in rows["search_seconds"]],
    ]
    widths, gap = _widths(columns, width)
    if sum(widths) + gap * (len(widths) - 1) > width:
        columns[1] = [re.sub(r"([A-Za-z])\w*=", r"\1=", budget) for budget in columns[1]]
        widths, gap = _widths(columns, width)
    _shorten(widths, width - gap * (len(widths) - 1))
    # Rich counts the blank divider between two columns apart from the padding.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
    for place, (header, cells_width) in enumerate(zip(HEADERS, widths, strict=True)):
        justify: JustifyMethod = "left" if place < NAMES else "right"
        table.add_column(
            header, justify=justify, min_width=cells_width, max_width=cells_width, no_wrap=True, overflow="ellipsis"
        )
    budgets = list(rows["budget"])
    for place, cells in enumerate(zip(*columns, strict=True)):
        ends = place + 1 < len(budgets) and budgets[place + 1] != budgets[place]
        table.add_row(*map(Text, cells), end_section=ends)
    return table


def _widths(columns: Sequence[Sequence[str]], width: int) -> tuple[list[int], int]:
    """The width of every column and the gap between two: 2 blanks if there is room, else 1."""
    widths = [max(map(len, [*header.split("\n"), *cells])) for header, cells in zip(HEADERS, columns, strict=True)]
    return widths, 2 if sum(widths) + 2 * (len(widths) - 1) <= width else 1


def _shorten(widths: list[int], available: int) -> None:
    """Takes what does not fit from the name columns, the longer one first; nothing if that would not be enough."""
    excess = sum(widths) - available
    if excess > sum(max(0, width - SHORTEST_NAME) for width in widths[:NAMES]):
        return
    for _ in range(excess):
        widths[widths.index(max(widths[:NAMES]))] -= 1


def _searcher(row: pd.Series[Any]) -> str:
    if row["seeds_failed"] == 0:
        return str(row["searcher"])
    return f"{row['searcher']} {row['seeds_done']}/{row['seeds_done'] + row['seeds_failed']}"


def _percent(fraction: float) -> str:
    return ABSENT if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _intervals(rows: pd.DataFrame, accuracy: str) -> Sequence[str]:
    """Cells such as ``97.8 ± 0.6`` with the signs below each other; one seed leaves the right half blank."""
    means = [_percent(value) for value in rows[accuracy]]
    halves = ["" if math.isnan(value) else f" ± {100 * value:.1f}" for value in rows[f"{accuracy}_half_width"]]
    width = max(map(len, halves))
    return [
        mean + (half and f" ± {half[3:]:>{width - 3}}").ljust(width) for mean, half in zip(means, halves, strict=True)
    ]


def _amount(value: float) -> str:
    if math.isnan(value):
        return ABSENT
    return f"{value:.1f}" if value < 100 and not float(value).is_integer() else f"{value:,.0f}"
