"""The leaderboard as people read it: a table per task, what its columns mean, and the cells that failed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rank_search.records.results import metric_names
from rank_search.report.measure import ABSENT, HIGHER, Measure
from rank_search.report.tables.table import MIDDLE, Column, Table

KNOWN = {"macs": "MACs", "params": "params"}  # of every run, first in every table
HEADERS = {"latency_ms": "predicted\ntime"}  # what budgets of a time are held against; beside it stands the measured

SEEDS = "2/3 beside a searcher: seeds done of those planned; the others failed or are missing."


@dataclass(frozen=True)
class Comparison:
    """What ``rank-search report`` says in text.

    Attributes:
        tables: one per task.
        legend: paragraphs that hold for all tables.
        failures: one line per failed cell.
        remarks: one line for all finished cells that have the same.
    """

    tables: tuple[Table, ...]
    legend: tuple[str, ...]
    failures: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def comparison(board: pd.DataFrame) -> Comparison:
    """The texts of a leaderboard.

    A table's title is the task, with the measure and its better direction unless the measure is accuracy.

    Args:
        board: what ``leaderboard`` returned.
    """
    by_task = {str(task): rows for task, rows in board.groupby("task", sort=False)}
    measures = {task: Measure.of(rows) for task, rows in by_task.items()}
    return Comparison(
        tables=tuple(task_table(task, rows, measures[task]) for task, rows in by_task.items()),
        legend=(*_legend(measures.values(), board["timed"]), *([SEEDS] if _lacks_seeds(board) else [])),
        failures=tuple(line for lines in board["failures"] for line in lines),
        remarks=_together(line for lines in board["remarks"] for line in lines),
    )


def _lacks_seeds(board: pd.DataFrame) -> bool:
    return bool((board["seeds_failed"] + board["seeds_missing"]).any())


def _together(lines: Iterable[str]) -> tuple[str, ...]:
    """One line for all cells that say the same."""
    cells: dict[str, list[str]] = {}
    for line in lines:
        cell, _, said = line.partition(": ")
        cells.setdefault(said, []).append(cell)
    return tuple(
        f"{found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {said}" for said, found in cells.items()
    )


def task_table(task: str, rows: pd.DataFrame, measure: Measure) -> Table:
    """The table of one task.

    Args:
        task: its name.
        rows: its rows of the leaderboard.
        measure: that it reports.
    """
    usual = is_usual(measure)
    before, validation, test = (
        ("before\ntuning", "after, on\nvalidation", "after, on\ntest")
        if usual
        else tuple(f"{measure.name}\n{when}" for when in ("before", "on validation", "on test"))
    )
    budgets = tuple(budget or ABSENT for budget in rows["budget"])
    columns = (
        Column("searcher", tuple(_searcher(row) for _, row in rows.iterrows()), numeric=False),
        Column("budget", budgets, tuple(map(_with_initials, budgets)), numeric=False),
        *(
            Column(
                HEADERS.get(metric, f"kept\n{KNOWN.get(metric, metric)}"), tuple(map(_percent, rows[f"kept_{metric}"]))
            )
            for metric in _metrics_of(rows)
        ),
        Column("kept\ntime", tuple(_percent(value, 0) for value in rows["latency_share"])),
        Column(before, tuple(map(measure.text, rows["before"]))),
        Column(validation, _intervals(rows, "validation", measure)),
        Column(test, _intervals(rows, "test", measure)),
        Column("evals\n", tuple(map(_amount, rows["evaluations"]))),
        Column("samples\n(k)", tuple(map(_amount, (rows["samples_forward"] + rows["samples_trained"]) / 1000))),
        Column("search\n(s)", tuple(map(_amount, rows["search_seconds"]))),
    )
    title = (
        task
        if usual
        else f"{task}: {measure.name}{f' in {measure.unit}' if measure.unit else ''}, {measure.better} is better"
    )
    return Table(title, columns, tuple(rows["budget"]), f"leaderboard_{task}", _numbers(rows))


def _numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows for a file: lists of lines as texts, without columns of other tasks' metrics."""
    lines = {name: rows[name].map("; ".join) for name in ("failures", "remarks")}
    return rows.assign(**lines).dropna(axis="columns", how="all").reset_index(drop=True)


def is_usual(measure: Measure) -> bool:
    """Whether readers expect this measure, so that neither title nor headers need its name."""
    return (measure.name, measure.better, measure.unit) == ("accuracy", HIGHER, "%")


def _metrics_of(rows: pd.DataFrame) -> list[str]:
    """The metrics of a task's space; the columns of another task's are empty."""
    others = [name for name in metric_names(rows) if name not in KNOWN]
    return [*KNOWN, *(name for name in others if rows[f"kept_{name}"].notna().any())]


def _legend(measures: Iterable[Measure], timed: Iterable[str]) -> tuple[str, ...]:
    every = list(measures)
    times = "; ".join(dict.fromkeys(filter(None, timed))) or "unknown"
    names = list(dict.fromkeys(measure.name for measure in every))
    in_percent = list(dict.fromkeys(measure.name for measure in every if measure.in_percent))
    listed = ", ".join(names)
    return (
        f"{_enumeration(['Kept cost', *in_percent])} in %; time: of {times}. "
        f"{listed[:1].upper()}{listed[1:]}: mean ± half width of the 95 % Student-t interval over seeds "
        "(before the fine-tune: mean).",
        "Samples: those the search saw, forward and in training, in thousands.",
    )


def _enumeration(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _searcher(row: pd.Series[Any]) -> str:
    planned = row["seeds_done"] + row["seeds_failed"] + row["seeds_missing"]
    return str(row["searcher"]) + (f" {row['seeds_done']}/{planned}" if row["seeds_done"] < planned else "")


def _with_initials(budget: str) -> str:
    return re.sub(r"([A-Za-z])\w*=", r"\1=", budget)


def _intervals(rows: pd.DataFrame, name: str, measure: Measure) -> tuple[str, ...]:
    pairs = zip(rows[name], rows[f"{name}_half_width"], strict=True)
    return tuple(MIDDLE.join(filter(None, [measure.text(mean), measure.half_width_text(half)])) for mean, half in pairs)


def _percent(fraction: float, decimals: int = 1) -> str:
    return ABSENT if math.isnan(fraction) else f"{100 * fraction:.{decimals}f}"


def _amount(value: float) -> str:
    if math.isnan(value):
        return ABSENT
    return f"{value:.1f}" if value < 100 and not float(value).is_integer() else f"{value:,.0f}"
