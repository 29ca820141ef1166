"""Printing a leaderboard in a terminal, at 100 columns without a wrapped cell."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rank_search.report.tables.comparison import comparison
from rank_search.report.tables.table import MIDDLE, Column, Table

SHORTEST_NAME = 8
LEGEND_WIDTH = 97


def render(board: pd.DataFrame, console: Console) -> None:
    """Prints a leaderboard: one table per task with a section per budget, then the failed cells, one line each.

    Args:
        board: what ``leaderboard`` returned.
        console: where to print; 100 columns are enough for budgets of two metrics. A narrower console shortens first
            the metrics of the budgets to their initials, then the names, and never the numbers.
    """
    texts = comparison(board)
    for table in texts.tables:
        print_table(table, console)
    for paragraph in texts.legend:
        for line in textwrap.wrap(paragraph, min(LEGEND_WIDTH, console.width)):
            console.print(Text(line, style="dim"))
    if texts.failures:
        count = len(texts.failures)
        console.print(
            Text(f"\n{count} cell{'s' * (count > 1)} failed (results.csv has the whole reasons):", style="bold red")
        )
    _lines(texts.failures, console)
    if texts.remarks:
        console.print(Text("\nremarks (results.csv has them whole):", style="bold"))
    _lines(texts.remarks, console)


def print_table(table: Table, console: Console) -> None:
    """Prints one table with its title."""
    console.print(Text(table.title, style="bold"))
    console.print(_grid(table, console.width), crop=False)
    console.print()


def _lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(Text(f"  {line}"), no_wrap=True, overflow="ellipsis")


def _grid(table: Table, width: int) -> RichTable:
    columns = [replace(column, cells=_below_each_other(column.cells)) for column in table.columns]
    widths, gap = _widths(columns, width)
    if sum(widths) + gap * (len(widths) - 1) > width:
        columns = [replace(column, cells=column.narrow or column.cells) for column in columns]
        widths, gap = _widths(columns, width)
    names = [place for place, column in enumerate(columns) if not column.numeric]
    _shorten(widths, names, width - gap * (len(widths) - 1))
    # Rich counts the blank divider between two columns apart from the padding.
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
    for column, cells_width in zip(columns, widths, strict=True):
        grid.add_column(
            column.header,
            justify="right" if column.numeric else "left",
            min_width=cells_width,
            max_width=cells_width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for place, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        group, *after = table.groups[place : place + 2]
        grid.add_row(*map(Text, cells), end_section=bool(after) and after[0] != group)
    return grid


def _widths(columns: Sequence[Column], width: int) -> tuple[list[int], int]:
    """The width of every column and the gap between two: 2 blanks if there is room, else 1."""
    widths = [max(map(len, [*column.header.split("\n"), *column.cells])) for column in columns]
    return widths, 2 if sum(widths) + 2 * (len(widths) - 1) <= width else 1


def _shorten(widths: list[int], names: Sequence[int], available: int) -> None:
    """Takes what does not fit from the columns of names, the longest first; nothing if that would not be enough."""
    excess = sum(widths) - available
    if excess > sum(max(0, widths[place] - SHORTEST_NAME) for place in names):
        return
    for _ in range(excess):
        widths[max(names, key=lambda place: widths[place])] -= 1


def _below_each_other(cells: Sequence[str]) -> tuple[str, ...]:
    """Sets the signs of cells such as ``97.8 ± 0.6`` below each other; one seed leaves the right half blank."""
    split = [cell.partition(MIDDLE) for cell in cells]
    width = max((len(half) for _, sign, half in split if sign), default=None)
    if width is None:
        return tuple(cells)
    return tuple(f"{mean}{sign or ' ' * len(MIDDLE)}{half:>{width}}" for mean, sign, half in split)
