"""The leaderboard: what every method reached under every budget, and what its search cost."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from rank_search.errors import InvalidInputError
from rank_search.report.budget_order import largest_first
from rank_search.report.statistics import Interval, mean_interval

KEPT = ("kept_macs", "kept_params")
LATENCIES = ("latency_ms", "dense_latency_ms")
ACCURACIES = ("accuracy_before", "val_accuracy", "test_accuracy")
COSTS = ("evaluations", "samples_forward", "samples_trained", "search_seconds")
COLUMNS = (
    *("task", "budget", "searcher", "seeds_done", "seeds_failed"),
    *KEPT,
    "kept_latency",
    *(column for accuracy in ACCURACIES for column in (accuracy, f"{accuracy}_half_width")),
    *COSTS,
    "failures",
)
DENSE = "dense"
ROUNDING = 1e-9  # accuracies closer than this differ only in how they were summed


def leaderboard(results: pd.DataFrame) -> pd.DataFrame:
    """Sums the cells up: one row per task, budget and searcher, over the seeds that are done.

    Args:
        results: one row per cell, as ``read_results`` gives it.

    Returns:
        A table with ``COLUMNS``: tasks by name; in each the dense net first (searcher ``dense``, budget empty), then
        the budgets from large to small; in each the best searcher first, by test accuracy, or by validation accuracy
        if the task has no test set. Accuracies and what is kept (latency among it) are fractions; ``*_half_width`` is
        of the 95 % Student-t interval over seeds (NaN for one seed). ``failures`` holds one line ``cell: reason`` per
        failed cell; where no seed is done the numbers are NaN.

    Raises:
        InvalidInputError: if a column is missing, or a finished seed lacks a number that the other seeds have.
    """
    needed = {
        "cell",
        "task",
        "budget",
        "searcher",
        "seed",
        "status",
        "reason",
        "dense_val_accuracy",
        "dense_test_accuracy",
    }
    missing = sorted((needed | {*KEPT, *LATENCIES, *ACCURACIES, *COSTS}) - set(results.columns))
    if missing:
        raise InvalidInputError(f"the results lack the columns {', '.join(missing)}; pass what read_results returns")
    rows: list[dict[str, Any]] = []
    for task in sorted(results["task"].unique()):
        of_task = results.loc[results["task"] == task]
        rows.append(_dense_row(task, of_task))
        for budget in largest_first(of_task["budget"]):
            of_budget = of_task.loc[of_task["budget"] == budget]
            unsorted = [_row(task, budget, searcher, cells) for searcher, cells in of_budget.groupby("searcher")]
            by = "test_accuracy" if of_task["test_accuracy"].notna().any() else "val_accuracy"
            rows += sorted(unsorted, key=lambda row: _rank(row, by))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rank(row: dict[str, Any], by: str) -> tuple[bool, float, str]:
    return math.isnan(row[by]), -row[by], row["searcher"]


def _row(task: str, budget: str, searcher: object, cells: pd.DataFrame) -> dict[str, Any]:
    done = cells.loc[cells["status"] == "done"]
    failed = cells.loc[cells["status"] == "failed"]
    where = f"{searcher} on {task} at {budget}"
    intervals = {column: _interval(done, column, where) for column in (*KEPT, *ACCURACIES, *COSTS)}
    return {
        **{"task": task, "budget": budget, "searcher": str(searcher)},
        **{"seeds_done": len(done), "seeds_failed": len(failed)},
        **{column: interval.mean for column, interval in intervals.items()},
        "kept_latency": float((done["latency_ms"] / done["dense_latency_ms"]).mean()),
        **{f"{column}_half_width": intervals[column].half_width for column in ACCURACIES},
        "failures": tuple(
            f"{cell}: {' '.join(str(reason).split()) or 'no reason was recorded'}"
            for cell, reason in zip(failed["cell"], failed["reason"], strict=True)
        ),
    }


def _dense_row(task: str, cells: pd.DataFrame) -> dict[str, Any]:
    accuracies = {name: _dense_interval(cells, f"dense_{name}") for name in ("val_accuracy", "test_accuracy")}
    return {
        **{
            "task": task,
            "budget": "",
            "searcher": DENSE,
            "seeds_done": accuracies["val_accuracy"].n,
            "seeds_failed": 0,
        },
        **dict.fromkeys((*KEPT, "kept_latency"), 1.0),
        **{name: interval.mean for name, interval in accuracies.items()},
        **{f"{name}_half_width": interval.half_width for name, interval in accuracies.items()},
        "failures": (),
    }


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
    if per_seed.max() - per_seed.min() < ROUNDING:
        return Interval(float(per_seed.iloc[0]), math.nan, 1)
    return mean_interval(per_seed)
