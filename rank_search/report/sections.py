"""A report as a value: all that a run folder says, as tables and figures, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rank_search.records.plans import read_plan
from rank_search.records.schema import LOSS_BEFORE
from rank_search.records.steps import read_steps
from rank_search.records.trace import read_trace
from rank_search.report.about import Said, about_runs, names_of
from rank_search.report.budget_order import largest_first
from rank_search.report.figures.critical_difference import CriticalDifference, critical_difference_figure
from rank_search.report.figures.incumbents import Incumbents, incumbents
from rank_search.report.figures.measure_against_cost import (
    MACS,
    TIME,
    MeasureAgainstCost,
    costs_of,
    measure_against_cost,
)
from rank_search.report.figures.probabilities import Probabilities, layer_probabilities, probabilities
from rank_search.report.figures.rank_paths import RankPaths, layer_paths, rank_paths
from rank_search.report.figures.ranks import Ranks, largest_ranks, ranks
from rank_search.report.measure import Measure
from rank_search.report.pairs import block_values, blocks_of, pairs_of_task, pairs_over_blocks, ranking_of
from rank_search.report.runs import RUN, read_all
from rank_search.report.stems import stem_of, told_apart
from rank_search.report.summary import gist, run_summary, task_summary
from rank_search.report.tables.charged import charged_table
from rank_search.report.tables.comparison import comparison
from rank_search.report.tables.hypervolumes import hypervolumes_table
from rank_search.report.tables.leaderboard import leaderboard
from rank_search.report.tables.mean_ranks import mean_ranks_table
from rank_search.report.tables.pairs import LEGEND, pairs_over_blocks_table, pairs_table
from rank_search.report.tables.plans import plans_table
from rank_search.report.tables.table import Table
from rank_search.space.plan import Choice

Figure = MeasureAgainstCost | Incumbents | Ranks | RankPaths | Probabilities | CriticalDifference


@dataclass(frozen=True)
class NamedFigure:
    """A figure and the name of its file, without an ending: letters, digits and ``._=,-`` alone.

    No other figure of the report has it, however it is spelled; one that is too long ends in a hash.
    """

    stem: str
    figure: Figure


@dataclass(frozen=True)
class Section:
    """What is said of one task.

    Attributes:
        task: its name.
        tables: the leaderboard first.
        figures: all of them.
        summary: sentences.
        gist: the one for a reader who reads no more.
        plans: of every finished cell, for pages on which one can be chosen; None where figures show all of them.
    """

    task: str
    tables: tuple[Table, ...]
    figures: tuple[NamedFigure, ...]
    summary: tuple[str, ...] = ()
    gist: str = ""
    plans: Table | None = None


@dataclass(frozen=True)
class Report:
    """What is said of one run, or of several together.

    Attributes:
        sections: one per task, by name.
        searchers: of all tasks, by name: each looks the same in every figure.
        legend: paragraphs that hold for all tables.
        failures: one line per failed cell.
        remarks: one line for all finished cells that have the same.
        summary: of every task, and on all tasks together: before those if a ranking tells a first, else after them.
        tables, figures: of all tasks together.
        title: what it is of.
        unfinished: sentences on runs that lack cells which they planned; the summary begins with them.
        about: headings and texts on the run itself: its config, versions, how to run it again.
    """

    sections: tuple[Section, ...]
    searchers: tuple[str, ...]
    legend: tuple[str, ...]
    failures: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[NamedFigure, ...] = ()
    title: str = ""
    about: Said = ()
    unfinished: tuple[str, ...] = ()

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """Of every task, then of all together."""
        return (*(table for section in self.sections for table in section.tables), *self.tables)

    @property
    def all_figures(self) -> tuple[NamedFigure, ...]:
        """Of every task, then of all together."""
        return (*(figure for section in self.sections for figure in section.figures), *self.figures)


def report_of(*folders: Path | str) -> Report:
    """Reads a run folder, or several that are compared as one; draws and writes nothing.

    Per task the leaderboard, what was charged, and where there is more than one searcher or budget the pairs and the
    hypervolumes. Of its finished cells the figures: ``<measure>_against_cost_<task>``; where times are known
    ``<measure>_against_time_<task>``; ``<measure>_against_<metric>_<task>`` for parameters and other metrics; per
    budget ``incumbent_<task>_<budget>`` and ``ranks_<task>_<budget>``; for every searcher that learns ranks while it
    trains ``rank_paths_<task>_<budget>_<searcher>`` of its first seed whose trace has ranks; and for every searcher
    that learns a probability for each rank ``probabilities_<task>_<budget>_<searcher>`` of its first seed whose trace
    has them. A task or budget without a finished cell has no figure. Of all tasks together there are mean ranks and
    pairs over tasks and budgets, and the figure ``critical_difference`` for at least three searchers and two blocks.

    Args:
        folders: of runs that have ended at least one cell; ``read_all`` says which may be compared.

    Raises:
        RunError: if a file of a run folder is missing or malformed, or the numbers of two cannot be compared.
    """
    runs = read_all(folders)
    results = runs.results
    board = leaderboard(results, runs.missing)
    texts = comparison(board)
    by_task = {str(task): rows for task, rows in board.groupby("task", sort=False)}
    sections = [
        _section(task, table, rows, results.loc[results["task"] == task])
        for (task, rows), table in zip(by_task.items(), texts.tables, strict=True)
    ]
    tables, figures, of_all, ranked = _of_all(results)
    of_tasks = tuple(sentence for section in sections for sentence in section.summary)
    named = told_apart(figure.stem for figures in (*(s.figures for s in sections), figures) for figure in figures)
    return Report(
        sections=tuple(replace(section, figures=_renamed(section.figures, named)) for section in sections),
        searchers=tuple(sorted(set(results["searcher"]))),
        legend=(*texts.legend, *([LEGEND] if any(_has_pairs(section) for section in sections) else [])),
        failures=texts.failures,
        remarks=texts.remarks,
        summary=(*runs.unfinished, *((*of_all, *of_tasks) if ranked else (*of_tasks, *of_all))),
        tables=tables,
        figures=_renamed(figures, named),
        title=", ".join(names_of([Path(folder) for folder in folders])),
        about=about_runs(folders),
        unfinished=runs.unfinished,
    )


def _section(task: str, board: Table, rows: pd.DataFrame, cells: pd.DataFrame) -> Section:
    pairs = pairs_of_task(rows, cells)
    tables = [board]
    if (cells["status"] == "done").any():
        tables.append(charged_table(task, rows))
    if pairs:
        tables.append(pairs_table(task, pairs, Measure.of(rows)))
    if (volumes := hypervolumes_table(task, cells)) is not None:
        tables.append(volumes)
    done = cells.loc[cells["status"] == "done"]
    plans = {place: read_plan(*cell) for place, cell in zip(done.index, _places(done), strict=True)}
    figures = tuple(_figures(task, rows, done, plans))
    said = task_summary(task, rows, cells, pairs)
    return Section(task, tuple(tables), figures, said, gist(rows, cells), _all_plans(task, done, plans))


def _all_plans(task: str, cells: pd.DataFrame, plans: Mapping[Any, Mapping[str, Choice]]) -> Table | None:
    """Of all finished cells; figures show the first seed of every searcher."""
    if not cells.duplicated(["budget", "searcher"]).any():
        return None
    found = {}
    for budget in largest_first(cells["budget"]):
        of_budget = cells.loc[cells["budget"] == budget].sort_values(["searcher", "seed"])
        for place, searcher, seed in zip(of_budget.index, of_budget["searcher"], of_budget["seed"], strict=True):
            found[str(budget), str(searcher), int(seed)] = plans[place]
    return plans_table(task, found)


def _has_pairs(section: Section) -> bool:
    return any(table.name.startswith("pairs_") for table in section.tables)


def _of_all(results: pd.DataFrame) -> tuple[tuple[Table, ...], tuple[NamedFigure, ...], tuple[str, ...], bool]:
    """Tables, figures and sentences on all tasks and budgets together, and whether they tell who is first.

    Nothing for a single block.
    """
    values = block_values(results)
    if len(blocks_of(values)) < 2 or len(values) < 2:
        return (), (), (), False
    ranking = ranking_of(results)
    blocks = blocks_of(values)
    left_out = [name for name in sorted(set(results["searcher"])) if len(values.get(name, {})) < len(blocks)]
    figure = critical_difference_figure(ranking, "the measure after fine-tuning", left_out)
    tables = [
        *([] if ranking is None else [mean_ranks_table(ranking)]),
        pairs_over_blocks_table(pairs_over_blocks(results)),
    ]
    named = () if figure is None else (NamedFigure("critical_difference", figure),)
    return tuple(tables), named, run_summary(ranking, left_out), ranking is not None and ranking.tells


def _figures(
    task: str, rows: pd.DataFrame, cells: pd.DataFrame, plans: Mapping[Any, Mapping[str, Choice]]
) -> Iterator[NamedFigure]:
    """Those of one task's finished cells, whose plans are given by their place in the table."""
    if cells.empty:
        return
    measure = Measure.of(rows).name
    for cost in costs_of(rows):
        against = {MACS: "cost", TIME: "time"}.get(cost, cost.removeprefix("kept_"))
        yield _figure(measure_against_cost(task, rows, cost), f"{measure}_against_{against}", task)
    largest = largest_ranks(plans.values())
    for budget in largest_first(cells["budget"]):
        of_budget = cells.loc[cells["budget"] == budget].sort_values(["searcher", "seed"])
        by_searcher = {str(searcher): group for searcher, group in of_budget.groupby("searcher")}
        steps = {name: [read_steps(*cell) for cell in _places(group)] for name, group in by_searcher.items()}
        losses = {name: list(group[LOSS_BEFORE]) for name, group in by_searcher.items() if LOSS_BEFORE in group}
        yield _figure(incumbents(task, budget, steps, measure, losses), "incumbent", task, budget)
        first = {f"{name}\nseed {group['seed'].iloc[0]}": plans[group.index[0]] for name, group in by_searcher.items()}
        yield _figure(ranks(task, budget, first, largest), "ranks", task, budget)
        for searcher, group in by_searcher.items():
            yield from _of_traces(task, budget, searcher, group)


def _places(cells: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """The run folder and the name of every cell."""
    return zip(cells[RUN], cells["cell"], strict=True)


def _of_traces(task: str, budget: str, searcher: str, cells: pd.DataFrame) -> Iterator[NamedFigure]:
    """What a searcher learned, each of the first seed whose trace tells enough."""
    traces = [(int(seed), read_trace(*cell)) for seed, cell in zip(cells["seed"], _places(cells), strict=True)]
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
    return NamedFigure(stem_of(*names), figure)


def _renamed(figures: Sequence[NamedFigure], stems: list[str]) -> tuple[NamedFigure, ...]:
    """The figures with the next stems, which are taken from the list."""
    return tuple(replace(figure, stem=stems.pop(0)) for figure in figures)
