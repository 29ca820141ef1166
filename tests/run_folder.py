"""A small run folder in the documented format, written with the standard library only."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULT_COLUMNS = [
    "cell",
    "task",
    "budget",
    "searcher",
    "seed",
    "status",
    "reason",
    "kept_macs",
    "kept_params",
    "latency_ms",
    "dense_latency_ms",
    "accuracy_before",
    "val_accuracy",
    "test_accuracy",
    "dense_val_accuracy",
    "dense_test_accuracy",
    "weight_error",
    "lower_bound",
    "evaluations",
    "samples_forward",
    "samples_trained",
    "decompositions",
    "search_seconds",
    "search_cpu_seconds",
    "finetune_samples",
    "finetune_seconds",
]
STEP_COLUMNS = [
    "step",
    "score",
    "incumbent_score",
    "accuracy",
    "kept_macs",
    "kept_params",
    "cached",
    "failure",
    "evaluations",
    "samples_forward",
    "samples_trained",
    "seconds",
]

Row = dict[str, Any]
Write = Callable[[list[Row]], Path]


def done(task: str, budget: str, searcher: str, seed: int, accuracy: float, **changes: Any) -> Row:
    """A finished cell whose test accuracy is ``accuracy`` and whose validation accuracy is 0.01 higher."""
    row: Row = dict.fromkeys(RESULT_COLUMNS, 0)
    row |= {"cell": f"{task}-{budget}-{searcher}-{seed}", "task": task, "budget": budget, "searcher": searcher}
    row |= {"seed": seed, "status": "done", "reason": "", "kept_macs": 0.49, "kept_params": 0.4}
    row |= {"latency_ms": 1.5, "dense_latency_ms": 2.0}
    row |= {"accuracy_before": accuracy - 0.1, "val_accuracy": accuracy + 0.01, "test_accuracy": accuracy}
    row |= {"dense_val_accuracy": 0.97, "dense_test_accuracy": 0.96, "weight_error": "", "lower_bound": ""}
    row |= {"evaluations": 4, "samples_forward": 4000, "samples_trained": 500, "search_seconds": 12.5}
    return row | changes


def failed(task: str, budget: str, searcher: str, seed: int, reason: str) -> Row:
    """A failed cell: a reason, no numbers."""
    names = {"cell": f"{task}-{budget}-{searcher}-{seed}", "task": task, "budget": budget, "searcher": searcher}
    return dict.fromkeys(RESULT_COLUMNS, "") | names | {"seed": seed, "status": "failed", "reason": reason}


def write_csv(path: Path, columns: list[str], rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def steps(scores: list[float | str], evaluations: list[int]) -> list[Row]:
    """Steps of a search with these scores (empty: the proposal failed) and these cumulative evaluation counts."""
    rows, incumbent = [], ""
    for step, (score, count) in enumerate(zip(scores, evaluations, strict=True)):
        if score != "" and (incumbent == "" or score < incumbent):
            incumbent = score
        row: Row = dict.fromkeys(STEP_COLUMNS, 0) | {"step": step, "score": score, "incumbent_score": incumbent}
        rows.append(row | {"accuracy": "", "cached": "False", "failure": "", "evaluations": count})
    return rows
