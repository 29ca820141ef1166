"""Reports as a command prints them, with the pages and pictures that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rank_search.commands.page_line import page_line

if TYPE_CHECKING:
    from rich.console import Console


def print_report(folder: Path, console: Console) -> list[str]:
    """Prints the leaderboard, writes plots and page, and returns the status of every cell."""
    from rank_search.records.schema import PLOTS
    from rank_search.report import leaderboard, render, report_of
    from rank_search.report.render.png.write_plots import draw_all
    from rank_search.report.runs import read_all

    runs = read_all([folder])
    board, found = leaderboard(runs.results, runs.missing), report_of(folder)
    plots = draw_all(found, folder / PLOTS)  # first: whoever reads along may leave after a line
    lines = [f"results: {folder}"]
    if plots:
        lines.append(f"plots:   {plots[0].parent} ({len(plots)} PNG files)")
    lines.append(page_line(found, folder))
    _say_unfinished(found.unfinished, console)
    render(board, console)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return list(runs.results["status"])


def print_together(runs: list[Path], output: Path | None, console: Console) -> None:
    """Prints the leaderboard of several runs; plots and page have a place only if one is given."""
    from rank_search.report import leaderboard, render, report_of
    from rank_search.report.render.png.write_plots import draw_all
    from rank_search.report.runs import read_all

    together = read_all(runs)
    board = leaderboard(together.results, together.missing)
    lines = ["plots:   none written: give a folder with --output"]
    if output is not None:
        found = report_of(*runs)
        plots = draw_all(found, output)
        lines = [f"plots:   {output} ({len(plots)} PNG files)", page_line(found, output)]
    _say_unfinished(together.unfinished, console)
    render(board, console)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _say_unfinished(sentences: Sequence[str], console: Console) -> None:
    """Before the tables: what is missing of runs that were interrupted."""
    for sentence in sentences:
        console.print(sentence, style="bold red", highlight=False, markup=False)
    if sentences:
        console.print()


def print_regret_report(folder: Path, console: Console) -> None:
    """Prints the tables and words of a benchmark of regret, and writes its page."""
    from rank_search.report.regret import regret_report_of
    from rank_search.report.render.terminal_table import print_table

    found = regret_report_of(folder)
    page = page_line(found, folder)
    for table in found.all_tables:
        print_table(table, console)
    for line in (*found.summary, *found.legend, *found.failures):
        console.print(line, highlight=False, markup=False)
    for line in (f"results: {folder}", page):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
