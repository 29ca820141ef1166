"""The optional table of a recording: what plans are worth after the default repair; resumable, in parallel."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from rank_search.errors import RunError
from rank_search.recorded import Recording, read_recording
from rank_search.recorded.load import data_of, task_of_recording
from rank_search.run.config import RunConfig
from rank_search.run.lock import only_writer
from rank_search.run.measure_plan import refit_plan
from rank_search.run.ray_map import mapped_jobs
from rank_search.run.recorded_plans import EVERYTHING, to_refit
from rank_search.run.recording_files import WORK, write_refitted, write_table
from rank_search.space import Budget
from rank_search.task import Task
from rank_search.task.repair.repair import Repair
from rank_search.threads import limited_threads

REPAIR, INPUTS = "refit", 512
KIND = "refitted"
CHUNK = 8

Job = tuple[str, list[int], int]
"""The folder of the recording, places of plans, threads."""


def refit_recording(
    folder: Path,
    settings: RunConfig,
    budgets: Sequence[Budget],
    near: int,
    answers: Sequence[int] = (),
    in_process: bool = False,
    tell: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> None:
    """Measures plans of a recording after the refit, from its own weights; rows that are there are kept.

    Args:
        folder: of a recording.
        settings: how many workers measure at once, with how many threads each.
        budgets, near, answers: which plans (see :func:`to_refit`).
        in_process: without Ray; the results are the same.
        tell: hears how many chunks of how many are done.

    Raises:
        RankSearchError: if it cannot start; what was measured stays.
    """
    with only_writer(folder):
        recording = read_recording(folder)
        inputs = min(INPUTS, len(data_of(recording).train))
        _same_repair(recording, inputs)
        work = folder / WORK / KIND
        known = [] if recording.refitted is None else [recording.refitted]
        known += [pd.read_parquet(path) for path in sorted(work.glob("*.parquet"))]
        done = {int(place) for table in known for place in table["plan"]}
        left = [place for place in to_refit(recording, budgets, near, answers) if place not in done]
        jobs = [
            (str(folder.resolve()), left[start : start + CHUNK], settings.threads)
            for start in range(0, len(left), CHUNK)
        ]
        tell(KIND, 0, len(jobs))
        for number, rows in enumerate(mapped_jobs(_refitted, jobs, settings, in_process), start=1):
            known.append(pd.DataFrame(rows))
            write_table(work / f"{rows[0]['plan']:08d}.parquet", known[-1])
            tell(KIND, number, len(jobs))
        if known:
            table = pd.concat(known, ignore_index=True).drop_duplicates("plan").sort_values("plan", ignore_index=True)
            asked = {"budgets": [str(budget) for budget in budgets], "near": near, "answers": len(set(answers))}
            write_refitted(recording, table, REPAIR, inputs, settings.threads, asked)
        shutil.rmtree(folder / WORK, ignore_errors=True)


def _same_repair(recording: Recording, inputs: int) -> None:
    """Rows of different repairs do not stand in one table."""
    before = recording.manifest.get("refitted")
    if before is not None and (before["repair"], before["inputs"]) != (REPAIR, inputs):
        raise RunError(
            f"{recording.folder} has plans after {before['repair']} on {before['inputs']} inputs, this version "
            f"measures {REPAIR} on {inputs}: record it again into another folder"
        )


def _refitted(job: Job) -> list[dict[str, Any]]:
    """A row per place, measured in the process that holds the task."""
    folder, places, threads = job
    with limited_threads(threads):
        recording, task, test, repair = _loaded(folder)
        return [
            {"plan": place, **refit_plan(task, repair, test, task.space.plan(recording.rows[place]))}
            for place in places
        ]


@lru_cache(maxsize=1)
def _loaded(folder: str) -> tuple[Recording, Task, Any, Repair]:
    recording = read_recording(folder)
    task = task_of_recording(recording, EVERYTHING)
    return recording, task, data_of(recording).test, Repair(REPAIR, INPUTS, task.model, task.data)
