"""A report as a value: all that a run folder says, as tables and figures, before anything is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from rank_search.records.file_names import AROUND_A_NAME, LONGEST_NAME, fitting
from rank_search.records.plans import read_plan
from rank_search.records.results import read_results
from rank_search.records.steps import read_steps
from rank_search.records.trace import read_trace
from rank_search.report.budget_order import largest_first
from rank_search.report.figures.incumbents import Incumbents, incumbents
from rank_search.report.figures.measure_against_cost import MeasureAgainstCost, measure_against_cost
from rank_search.report.figures.probabilities import Probabilities, layer_probabilities, probabilities
from rank_search.report.figures.rank_paths import RankPaths, layer_paths, rank_paths
from rank_search.report.figures.ranks import Ranks, largest_ranks, ranks
from rank_search.report.measure import Measure
from rank_search.report.tables.comparison import comparison
from rank_search.report.tables.leaderboard import leaderboard
from rank_search.report.tables.table import Table

LONGEST_STEM = LONGEST_NAME - AROUND_A_NAME - len(".12345.png")
Figure = MeasureAgainstCost | Incumbents | Ranks | RankPaths | Probabilities


@dataclass(frozen=True)
class NamedFigure:
    """A figure and the name of its file, without an ending: letters, digits and ``._=,-`` alone.

    No other figure of the report has it, however it is spelled; one that is too long ends in a hash.
    """

    stem: str
    figure: Figure


@dataclass(frozen=True)
class Section:
    """What is said of one task."""

    task: str
    tables: tuple[Table, ...]
    figures: tuple[NamedFigure, ...]


@dataclass(frozen=True)
class Report:
    """What is said of one run.

    Attributes:
        sections: one per task, by name.
        searchers: of all tasks, by name: each looks the same in every figure.
        legend: paragraphs that hold for all tables.
        failures: one line per failed cell.
        remarks: one line for all finished cells that have the same.
        summary: sentences that say what was found; the first is the headline.
    """

    sections: tuple[Section, ...]
    searchers: tuple[str, ...]
    legend: tuple[str, ...]
    failures: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()


def report_of(folder: Path | str) -> Report:
    """Reads a run folder; draws and writes nothing.

    Per task a table, and of its finished cells the figures: ``<measure>_against_cost_<task>``; per budget
    ``incumbent_<task>_<budget>`` and ``ranks_<task>_<budget>``; for every searcher that learns ranks while it trains
    ``rank_paths_<task>_<budget>_<searcher>`` of its first seed whose trace has ranks; and for every searcher that
    learns a probability for each rank ``probabilities_<task>_<budget>_<searcher>`` of its first seed whose trace has
    them. A task or budget without a finished cell has no figure.

    Args:
        folder: of a run that has ended at least one cell.

    Raises:
        RunError: if a file of the run folder is missing or malformed.
    """
    folder = Path(folder)
    results = read_results(folder)
    board = leaderboard(results)
    texts = comparison(board)
    done = results.loc[results["status"] == "done"]
    tasks = list(dict.fromkeys(board["task"]))
    sections = [
        Section(
            task,
            (table,),
            tuple(_figures(folder, task, board.loc[board["task"] == task], done.loc[done["task"] == task])),
        )
        for task, table in zip(tasks, texts.tables, strict=True)
    ]
    return Report(
        sections=_told_apart(sections),
        searchers=tuple(sorted(set(results["searcher"]))),
        legend=texts.legend,
        failures=texts.failures,
        remarks=texts.remarks,
    )


def _figures(folder: Path, task: str, rows: pd.DataFrame, cells: pd.DataFrame) -> Iterator[NamedFigure]:
    """Those of one task's finished cells."""
    if cells.empty:
        return
    yield _figure(measure_against_cost(task, rows), f"{Measure.of(rows).name}_against_cost", task)
    plans = {cell: read_plan(folder, cell) for cell in cells["cell"]}
    largest = largest_ranks(plans.values())
    for budget in largest_first(cells["budget"]):
        of_budget = cells.loc[cells["budget"] == budget].sort_values(["searcher", "seed"])
        by_searcher = {str(searcher): group for searcher, group in of_budget.groupby("searcher")}
        steps = {name: [read_steps(folder, cell) for cell in group["cell"]] for name, group in by_searcher.items()}
        yield _figure(incumbents(task, budget, steps), "incumbent", task, budget)
        first = {
            f"{name}\nseed {group['seed'].iloc[0]}": plans[group["cell"].iloc[0]] for name, group in by_searcher.items()
        }
        yield _figure(ranks(task, budget, first, largest), "ranks", task, budget)
        for searcher, group in by_searcher.items():
            yield from _of_traces(folder, task, budget, searcher, group)


def _of_traces(folder: Path, task: str, budget: str, searcher: str, cells: pd.DataFrame) -> Iterator[NamedFigure]:
    """What a searcher learned, each of the first seed whose trace tells enough."""
    traces = [(int(seed), read_trace(folder, cell)) for seed, cell in zip(cells["seed"], cells["cell"], strict=True)]
    for seed, trace in traces:
        if paths := layer_paths(trace):
            yield _figure(rank_paths(task, budget, searcher, seed, paths), "rank_paths", task, budget, searcher)
            break
    for seed, trace in traces:
        if layers := layer_probabilities(trace):
            figure = probabilities(task, budget, searcher, seed, layers)
            yield _figure(figure, "probabilities", task, budget, searcher)
            break


def _figure(figure: Figure, *names: str) -> NamedFigure:
    stem = "_".join(re.sub(r"[^\w.=,-]", "-", name) for name in names)
    return NamedFigure(fitting(stem, LONGEST_STEM), figure)


def _told_apart(sections: Sequence[Section]) -> tuple[Section, ...]:
    """Numbers figures whose names differ in nothing, or in case alone, on disk."""
    taken: set[str] = set()

    def named(figure: NamedFigure) -> NamedFigure:
        stem, number = figure.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{figure.stem}-{number}"
        taken.add(stem.casefold())
        return replace(figure, stem=stem)

    return tuple(replace(section, figures=tuple(map(named, section.figures))) for section in sections)
