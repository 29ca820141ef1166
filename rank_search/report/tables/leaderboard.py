"""The leaderboard: what every method reached under every budget, and what its search cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from rank_search.errors import InvalidInputError
from rank_search.records.results import metric_names
from rank_search.records.schema import measured
from rank_search.report.budget_order import largest_first
from rank_search.report.measure import HIGHER, Measure
from rank_search.report.statistics import Interval, mean_interval
from rank_search.report.statistics.bootstrap import bootstrap_interval
from rank_search.report.unfinished import Planned

LATENCIES = ("latency_ms", "dense_latency_ms")
COSTS = ("evaluations", "samples_forward", "samples_trained", "search_seconds")
NAMES = (
    "cell",
    "task",
    "budget",
    "searcher",
    "seed",
    "status",
    "reason",
    "remarks",
    "timed",
    "measure",
    "better",
    "unit",
)
MEASURED = {"before": "{}_before", "validation": "val_{}", "test": "test_{}"}
"""Columns of the reported measure: here, and in the results."""
SPREADS = ("half_width", "bootstrap_low", "bootstrap_high")
DENSE_MEASURED = {"validation": "dense_val_{}", "test": "dense_test_{}"}
DENSE = "dense"
ROUNDING = 1e-9  # measures that differ by less than this share differ only in how they were summed


def leaderboard(results: pd.DataFrame, missing: Iterable[Planned] = ()) -> pd.DataFrame:
    """Sums the cells up: one row per task, budget and searcher, over the seeds that are done.

    Args:
        results: one row per cell, as ``read_results`` gives it.
        missing: cells that are planned and have not ended; ``seeds_missing`` counts them.

    Returns:
        A table with the columns that ``board_columns`` lists: tasks by name; in each the dense net first (searcher
        ``dense``, budget empty), then the budgets from large to small; in each the best searcher first, by the task's
        measure on the test set, or on the validation set if the task has no test set. ``before``, ``validation`` and
        ``test`` are of that measure, named ``measure``; ``better`` and ``unit`` say how it reads; ``*_half_width`` is
        of the 95 % Student-t interval over seeds (NaN for one seed), ``*_bootstrap_low`` and ``*_bootstrap_high`` are
        the ends of the BCa bootstrap's. ``kept_*`` and ``latency_share`` are fractions of the dense net's (the time is
        what ``timed`` says), NaN for metrics that only another task's space has.
        ``failures`` holds one line ``cell: reason`` per failed cell, ``remarks`` one ``cell: remarks`` per finished one
        that has any; where no seed is done the numbers are NaN.

    Raises:
        InvalidInputError: if a column is missing, a task reports several measures, or a finished seed lacks a number
            that the other seeds have.
    """
    _check_columns(results)
    kept = [f"kept_{metric}" for metric in metric_names(results)]
    absent = Counter(cell[:3] for cell in missing)
    rows: list[dict[str, Any]] = []
    for task in sorted(results["task"].unique()):
        of_task = results.loc[results["task"] == task]
        measure = Measure.of(of_task)
        rows.append(_dense_row(task, of_task, measure, kept))
        by = "test" if of_task[f"test_{measure.name}"].notna().any() else "validation"
        for budget in largest_first(of_task["budget"]):
            of_budget = of_task.loc[of_task["budget"] == budget]
            unsorted = [_row(budget, str(name), cells, measure, kept) for name, cells in of_budget.groupby("searcher")]
            for row in unsorted:
                row["seeds_missing"] = absent[task, budget, row["searcher"]]
            rows += sorted(unsorted, key=lambda row: _place(row[by], measure, row["searcher"]))
    return pd.DataFrame(rows, columns=list(board_columns(metric_names(results))))


def board_columns(metrics: Iterable[str]) -> tuple[str, ...]:
    """The columns of a leaderboard of runs whose spaces have these metrics."""
    return (
        *("task", "budget", "searcher", "seeds_done", "seeds_failed", "seeds_missing"),
        *("measure", "better", "unit"),
        *(f"kept_{metric}" for metric in metrics),
        *("latency_share", "timed"),
        *(column for name in MEASURED for column in (name, *(f"{name}_{of}" for of in SPREADS))),
        *COSTS,
        "failures",
        "remarks",
    )


def _check_columns(results: pd.DataFrame) -> None:
    measures = set(results["measure"]) if "measure" in results.columns else set()
    needed = {*NAMES, "kept_macs", "kept_params", *LATENCIES, *COSTS}
    missing = sorted(needed.union(*map(measured, measures)) - set(results.columns))
    if missing:
        raise InvalidInputError(f"the results lack the columns {', '.join(missing)}; pass what read_results returns")


def _place(value: float, measure: Measure, searcher: str) -> tuple[bool, float, str]:
    return math.isnan(value), -value if measure.better == HIGHER else value, searcher


def _row(budget: str, searcher: str, cells: pd.DataFrame, measure: Measure, kept: Sequence[str]) -> dict[str, Any]:
    done = cells.loc[cells["status"] == "done"]
    failed = cells.loc[cells["status"] == "failed"]
    task = str(cells["task"].iloc[0])
    where = f"{searcher} on {task} at {budget}"
    reached = {name: _interval(done, column.format(measure.name), where) for name, column in MEASURED.items()}
    return {
        **{"task": task, "budget": budget, "searcher": searcher},
        **{"seeds_done": len(done), "seeds_failed": len(failed)},
        **_description(measure),
        **{column: _interval(done, column, where).mean for column in (*kept, *COSTS)},
        "latency_share": float((done["latency_ms"] / done["dense_latency_ms"]).mean()),
        "timed": next(iter(done["timed"]), ""),
        **_with_half_widths(reached),
        **_bootstrapped(done, measure),
        "failures": tuple(
            f"{cell}: {' '.join(str(reason).split()) or 'no reason was recorded'}"
            for cell, reason in zip(failed["cell"], failed["reason"], strict=True)
        ),
        "remarks": tuple(
            f"{cell}: {remarks}" for cell, remarks in zip(done["cell"], done["remarks"], strict=True) if remarks
        ),
    }


def _dense_row(task: str, cells: pd.DataFrame, measure: Measure, kept: Sequence[str]) -> dict[str, Any]:
    reached = {name: _dense_interval(cells, column.format(measure.name)) for name, column in DENSE_MEASURED.items()}
    own = [column for column in kept if column in ("kept_macs", "kept_params") or cells[column].notna().any()]
    return {
        **{"task": task, "budget": "", "searcher": DENSE},
        **{"seeds_done": reached["validation"].n, "seeds_failed": 0, "seeds_missing": 0},
        **_description(measure),
        **dict.fromkeys((*own, "latency_share"), 1.0),
        "timed": "",
        **_with_half_widths(reached),
        "failures": (),
        "remarks": (),
    }


def _description(measure: Measure) -> dict[str, str]:
    return {"measure": measure.name, "better": measure.better, "unit": measure.unit}


def _with_half_widths(reached: dict[str, Interval]) -> dict[str, float]:
    means = {name: interval.mean for name, interval in reached.items()}
    return means | {f"{name}_half_width": interval.half_width for name, interval in reached.items()}


def _bootstrapped(done: pd.DataFrame, measure: Measure) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, column in MEASURED.items():
        values = done[column.format(measure.name)].dropna()
        low, high = bootstrap_interval(values) if len(values) else (math.nan, math.nan)
        found |= {f"{name}_bootstrap_low": low, f"{name}_bootstrap_high": high}
    return found


def _interval(done: pd.DataFrame, column: str, where: str) -> Interval:
    values = done[column]
    if values.isna().all():
        return Interval(math.nan, math.nan, 0)
    try:
        return mean_interval(values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{column} of {where}: {error}") from None


def _dense_interval(cells: pd.DataFrame, column: str) -> Interval:
    """One dense net for all seeds has no spread; one per seed has."""
    per_seed = cells.loc[cells[column].notna()].groupby("seed")[column].mean()
    if per_seed.empty:
        return Interval(math.nan, math.nan, 0)
    if per_seed.max() - per_seed.min() < ROUNDING * max(1.0, per_seed.abs().max()):
        return Interval(float(per_seed.iloc[0]), math.nan, 1)
    return mean_interval(per_seed)
