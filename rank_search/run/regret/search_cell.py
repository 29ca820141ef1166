"""One search on a recorded task, and the regret of what it had found after so much work."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from rank_search.errors import RankSearchError
from rank_search.recorded import RecordedTask
from rank_search.recorded.load import task_of_recording
from rank_search.recorded.recording import read_recording
from rank_search.run.regret.config import RegretArm
from rank_search.run.regret.yardstick import Yardstick, place_of
from rank_search.searching import Trial, make_searcher, run_search
from rank_search.searching.loop import incumbent
from rank_search.space import Budget
from rank_search.task import Limits
from rank_search.threads import limited_threads

TRAINED = 3  # forward and backward cost as much as so many forward passes


@dataclass(frozen=True)
class Cell:
    """Args:
    task: the recording's name.
    bounds: of the budget.
    arm: the searcher.
    seeds: of the searches, all of this cell.
    evaluations: after which the regret is taken.
    threads: cores of a search.
    """

    task: str
    bounds: Mapping[str, float | int]
    arm: RegretArm
    seeds: tuple[int, ...]
    evaluations: tuple[int, ...]
    threads: int


class _Found(Exception):
    """The best recorded plan was evaluated: nothing that follows can change the answer."""


def search_cell(cell: Cell) -> list[dict[str, Any]]:
    """A row per seed: names, ``plan_N`` (the place of the answer in the recording), ``regret_N`` and ``test_regret_N``
    after the work of N evaluations (None before the first plan), what was used, and the reason of a search that failed.
    """
    task = _loaded(cell.task).under(Budget(**cell.bounds))
    assert isinstance(task, RecordedTask)
    yardstick = Yardstick.of(task)
    with limited_threads(cell.threads):
        return [_row(cell, task, yardstick, seed) for seed in cell.seeds]


@cache
def _loaded(name: str) -> RecordedTask:
    return task_of_recording(read_recording(name), Budget(macs=1.0))


def _row(cell: Cell, task: RecordedTask, yardstick: Yardstick, seed: int) -> dict[str, Any]:
    names = {"task": cell.task, "budget": str(task.budget), "searcher": cell.arm.title, "seed": seed}
    most = min(cell.arm.evaluations or max(cell.evaluations), max(cell.evaluations))
    each = evaluation_samples(task)
    limits = Limits(evaluations=most, samples_forward=most * each)
    started = time.process_time()
    under = task.under(task.budget, seed, limits)
    trials: list[Trial] = []
    reason, ended = None, "done"

    def heard(trial: Trial) -> None:
        trials.append(trial)
        if trial.score is not None and trial.score <= yardstick.best and trial.measures:
            raise _Found

    try:
        searcher = make_searcher(under, cell.arm.name, seed, **cell.arm.options)
        result = run_search(searcher, callback=heard, parallel=cell.arm.parallel)
        reason, ended = result.gave_up, result.ended
    except _Found:
        pass
    except RankSearchError as error:
        return {**names, "status": "failed", "reason": " ".join(str(error).split())}
    spent, meter = time.process_time() - started, under.meter.reading()
    columns: dict[str, float | None] = {}
    for count in cell.evaluations:
        found = after(trials, count, each)
        capped = cell.arm.evaluations is not None and count > cell.arm.evaluations and ended != "done"
        columns[f"plan_{count}"] = None if found is None or capped else place_of(task, found.plan)
        for kind in ("regret", "test_regret"):
            columns[f"{kind}_{count}"] = None if found is None or capped else _regret(kind, task, yardstick, found)
    return {
        **names,
        "status": "done",
        "reason": reason,
        **columns,
        "evaluations": meter["evaluations"],
        "equivalents": round(equivalents(meter, each), 3),
        "cpu_seconds": round(spent, 4),
        "simulated_seconds": round(meter["cpu_seconds"], 3),
    }


def evaluation_samples(task: RecordedTask) -> int:
    """Forward samples of an evaluation of a plan that changes every layer."""
    probe = task.under(task.budget)
    plan = probe.space.random_plan(np.random.default_rng(0), probe.budget)
    probe.charge_evaluation(plan)
    return int(probe.meter.samples_forward)


def equivalents(meter: Mapping[str, float | int], each: int) -> float:
    """All forward and trained samples as a number of evaluations."""
    return float((meter["samples_forward"] + TRAINED * meter["samples_trained"]) / each)


def after(trials: Sequence[Trial], count: int, each: int) -> Trial | None:
    """What the search would answer after the work of so many evaluations; None if it had no plan then."""
    return incumbent([trial for trial in trials if equivalents(trial.meter, each) <= count + 1e-9])


def _regret(kind: str, task: RecordedTask, yardstick: Yardstick, trial: Trial) -> float | None:
    place = place_of(task, trial.plan)
    if kind == "regret":
        regret = yardstick.regret(float(task.recording.column("val_loss")[place]))
    else:
        regret = yardstick.test_regret(float(task.recording.column("test_loss")[place]))
    return regret if math.isfinite(regret) else None
