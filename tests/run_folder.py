"""A small run folder in the documented format, written by the package's own records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rank_search.files import write_text
from rank_search.records.results import write_results
from rank_search.records.schema import COUNTS, PLAN_FILE, RESULT_NUMBERS, measured
from rank_search.records.steps import write_steps
from rank_search.searching import Trial
from rank_search.space.plan import Choice, RankPlan

Row = dict[str, Any]
Write = Callable[[list[Row]], Path]

ACCURACY = {"measure": "accuracy", "better": "higher", "unit": "%"}
RMSE = {"measure": "rmse", "better": "lower", "unit": ""}
DENSE = {"macs": 1000, "params": 100}
PLAN = RankPlan({"conv": Choice("tucker2", (16, 12)), "mix": Choice("cp", (24,)), "fc": Choice("dense")})


def done(task: str, budget: str, searcher: str, seed: int, accuracy: float, **changes: Any) -> Row:
    """A finished cell whose test accuracy is ``accuracy`` and whose validation accuracy is 0.01 higher."""
    measures = (accuracy - 0.1, accuracy + 0.01, accuracy, 0.97, 0.96)
    return _row(task, budget, searcher, seed, ACCURACY, measures) | changes


def done_regression(task: str, budget: str, searcher: str, seed: int, rmse: float, **changes: Any) -> Row:
    """A finished cell whose test error is ``rmse``, twice that before the fine-tune, 0.5 more on the validation set."""
    return _row(task, budget, searcher, seed, RMSE, (2 * rmse, rmse + 0.5, rmse, 1.25, 1.5)) | changes


def failed(
    task: str, budget: str, searcher: str, seed: int, reason: str, reported: dict[str, str] | None = None
) -> Row:
    """A failed cell: what it reports and a reason, no numbers."""
    row = _names(task, budget, searcher, seed) | (reported or ACCURACY)
    return row | {"status": "failed", "reason": reason}


def steps(scores: Sequence[float | None], evaluations: Sequence[int]) -> list[Trial]:
    """Trials of a search with these scores (None: the proposal failed) and these cumulative evaluation counts."""
    trials: list[Trial] = []
    incumbent: float | None = None
    for number, (score, count) in enumerate(zip(scores, evaluations, strict=True), 1):
        if score is not None and (incumbent is None or score < incumbent):
            incumbent = score
        meter: dict[str, float] = dict.fromkeys(COUNTS, 0) | {"evaluations": count, "wall_seconds": 0.0}
        state = "failed" if score is None else "done"
        trials.append(Trial(number, PLAN, state, score, {}, dict(DENSE), meter=meter, incumbent=incumbent))
    return trials


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Writes a run folder with these cells; every finished one has four steps and a plan of three layers."""

    def write(rows: list[Row]) -> Path:
        folder = tmp_path / "run"
        write_results(folder, rows)
        for row in rows:
            if row["status"] == "done":
                cell = folder / "cells" / row["cell"]
                counts = [1, 2, 3, 4] if row["evaluations"] else [0, 0, 0, 0]
                write_steps(cell, steps([0.9, 0.5, 0.7, 0.4], counts), DENSE, ["loss", row["measure"]])
                write_text(cell / PLAN_FILE, PLAN.to_json())
        return folder

    return write


def _names(task: str, budget: str, searcher: str, seed: int) -> Row:
    cell = f"{task}-{budget}-{searcher}-{seed}"
    return {"cell": cell, "task": task, "budget": budget, "searcher": searcher, "seed": seed}


def _row(
    task: str, budget: str, searcher: str, seed: int, reported: dict[str, str], measures: tuple[float, ...]
) -> Row:
    """``measures`` are before, validation, test, and validation and test of the dense network."""
    row = _names(task, budget, searcher, seed) | reported
    row |= {
        "status": "done",
        "reason": "",
        "remarks": "",
        "timed": "a run of 1 in eager",
        "kept_macs": 0.49,
        "kept_params": 0.4,
    }
    row |= dict(zip(measured(reported["measure"]), measures, strict=True))
    row |= dict.fromkeys(RESULT_NUMBERS, 0) | {"latency_ms": 1.5, "dense_latency_ms": 2.0, "score": 0.4}
    return row | {"evaluations": 4, "samples_forward": 4000, "samples_trained": 500, "search_seconds": 12.5}
