"""Draws and writes all pictures of a run folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rank_search.files import write_atomically
from rank_search.records.read_run import read_plan, read_results, read_steps, read_trace
from rank_search.report.budget_order import largest_first
from rank_search.report.render.accuracy_plot import accuracy_figure
from rank_search.report.render.incumbent_plot import incumbent_figure
from rank_search.report.render.palette import looks
from rank_search.report.render.probabilities_plot import probabilities_figure, rank_probabilities
from rank_search.report.render.rank_paths_plot import rank_paths, rank_paths_figure
from rank_search.report.render.ranks_plot import largest_ranks, ranks_figure
from rank_search.report.tables.leaderboard import leaderboard

DOTS_PER_INCH = 150


def write_plots(folder: Path | str) -> list[Path]:
    """Writes the pictures of a run into ``<folder>/plots/`` as PNG files; those of an earlier call are replaced.

    Per task ``accuracy_against_cost_<task>.png``; per task and budget ``incumbent_<task>_<budget>.png``,
    ``ranks_<task>_<budget>.png``; for every searcher that learns ranks while it trains,
    ``rank_paths_<task>_<budget>_<searcher>.png`` of its first seed whose trace has ranks; and for every searcher that
    learns a probability for each rank, ``probabilities_<task>_<budget>_<searcher>.png`` of its first seed whose trace
    has them. In the names, whatever is not a letter, a digit or one of ``._=,-`` becomes ``-``. Only finished cells are
    drawn: a task or budget without any has no picture.

    Returns:
        The paths written, in that order.

    Raises:
        RunError: if a file of the run folder is missing or malformed.
        StorageError: if a picture could not be written.
    """
    folder = Path(folder)
    results = read_results(folder)
    board = leaderboard(results)
    styles = looks(results["searcher"])
    done = results.loc[results["status"] == "done"]
    written = []
    for task in sorted(done["task"].unique()):
        figure = accuracy_figure(task, board.loc[board["task"] == task], styles)
        written.append(_write(figure, folder, "accuracy_against_cost", task))
        of_task = done.loc[done["task"] == task]
        plans = {cell: read_plan(folder, cell) for cell in of_task["cell"]}
        largest = largest_ranks(plans.values())
        for budget in largest_first(of_task["budget"]):
            cells = of_task.loc[of_task["budget"] == budget].sort_values(["searcher", "seed"])
            steps = {
                searcher: [read_steps(folder, cell) for cell in group["cell"]]
                for searcher, group in _by_searcher(cells).items()
            }
            written.append(_write(incumbent_figure(task, budget, steps, styles), folder, "incumbent", task, budget))
            first = {
                f"{searcher}\nseed {group['seed'].iloc[0]}": plans[group["cell"].iloc[0]]
                for searcher, group in _by_searcher(cells).items()
            }
            written.append(_write(ranks_figure(task, budget, first, largest), folder, "ranks", task, budget))
            for searcher, group in _by_searcher(cells).items():
                traces = [
                    (int(seed), read_trace(folder, cell))
                    for seed, cell in zip(group["seed"], group["cell"], strict=True)
                ]
                for kind, figure in _learned(task, budget, searcher, traces):
                    written.append(_write(figure, folder, kind, task, budget, searcher))
    return written


def _by_searcher(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(searcher): group for searcher, group in cells.groupby("searcher")}


def _learned(
    task: str, budget: str, searcher: str, traces: list[tuple[int, list[dict[str, Any]]]]
) -> Iterator[tuple[str, Figure]]:
    """What a searcher learned: its kinds of pictures, each of the first seed whose trace tells enough."""
    for seed, trace in traces:
        if paths := rank_paths(trace):
            yield "rank_paths", rank_paths_figure(task, budget, searcher, seed, paths)
            break
    for seed, trace in traces:
        if layers := rank_probabilities(trace):
            yield "probabilities", probabilities_figure(task, budget, searcher, seed, layers)
            break


def _write(figure: Figure, folder: Path, *names: str) -> Path:
    file_name = "_".join(re.sub(r"[^\w.=,-]", "-", name) for name in names)
    path = folder / "plots" / f"{file_name}.png"
    FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH))
    return path
