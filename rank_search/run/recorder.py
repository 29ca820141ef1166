"""Recording a task: every plan of a small space, or a sample of a large one; resumable, in parallel under Ray."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rank_search.errors import ConfigError, RunError
from rank_search.files import write_json
from rank_search.recorded.recording import MANIFEST
from rank_search.run.config import LATENCY, Config
from rank_search.run.lock import only_writer
from rank_search.run.measure_plan import finetune_plan, measure_plan
from rank_search.run.prepare import Prepared, load_prepared, prepare_task
from rank_search.run.ray_map import mapped_jobs
from rank_search.run.recorded_plans import EVERYTHING, all_rows, drawn_rows, spread
from rank_search.run.recording_files import WORK, section_as_data, write_recording, write_table
from rank_search.run.refit_recording import refit_recording
from rank_search.space import Budget
from rank_search.threads import limited_threads

CHUNK = 256
TUNED_CHUNK = 6

Job = tuple[str, int, list[Any]]
"""``("plans" | "finetuned", its number, option rows or [place, option row, seed])``."""
Tell = Callable[[str, int, int], None]


def record(
    config: Config,
    name: str,
    output: Path,
    plans: int = 50_000,
    finetuned: int = 200,
    seeds: Sequence[int] = (0, 1, 2),
    refitted: int = 200,
    in_process: bool = False,
    tell: Tell = lambda what, done, total: None,
) -> Path:
    """Records a task of a config into a folder, or goes on with a recording that was interrupted.

    Args:
        config: its ``tasks`` are read, and how many ``run.workers`` measure at once.
        name: the task.
        output: the recording's folder; what is half done lies in its folder ``work``.
        plans: a space of at most so many plans is recorded whole, of a larger one so many are drawn: half uniformly in
            the coordinates of ``space.encode``, half near the data-free optimum of random budgets.
        finetuned: plans spread over cost and loss that are fine-tuned, too.
        seeds: of those fine-tunes.
        refitted: plans of least loss within every budget of the config that are measured after the default repair, too,
            beside those that are fine-tuned.
        in_process: without Ray; the results are the same.
        tell: hears what was done: ``plans``, ``finetuned`` or ``refitted``, how many chunks, of how many.

    Returns:
        The folder.

    Raises:
        RankSearchError: if it cannot start; what was measured stays.
    """
    if name not in config.tasks:
        raise ConfigError(f"there is no task {name!r}; it is one of {', '.join(config.tasks)}")
    if config.tasks[name].space.errors != "weight":
        raise ConfigError("a recording keeps the errors of weights: set space.errors=weight")
    if LATENCY in config.tasks[name].space.metrics:
        raise ConfigError(f"a recording counts no {LATENCY}, a time of one machine: leave target out")
    if (output / MANIFEST).exists() and not (output / WORK).exists():
        raise RunError(
            f"{output} holds a finished recording: give another folder with --output, or --refit-only to add to it"
        )
    budgets = [Budget(**bounds) for bounds in config.budgets]
    config = config.model_copy(update={"budgets": [EVERYTHING.to_dict()]})
    with only_writer(output):
        work = output / WORK
        started = time.perf_counter()
        asked = {"plans": plans, "finetuned": finetuned, "seeds": list(seeds), "task": section_as_data(config, name)}
        _same(work / "asked.json", asked)
        if not (output / MANIFEST).exists():
            _record(config, name, output, budgets, asked, in_process, tell, started)
    refit_recording(output, config.run, budgets, refitted, in_process=in_process, tell=tell)
    return output


def _record(
    config: Config,
    name: str,
    output: Path,
    budgets: Sequence[Budget],
    asked: dict[str, Any],
    in_process: bool,
    tell: Tell,
    started: float,
) -> None:
    """All but the refitted plans."""
    work = output / WORK
    with limited_threads(config.run.threads):
        prepared = prepare_task(config, name, work / "task")
    space = prepared.task.space
    for budget in budgets:
        budget.limits(space.dense_cost)
    rows = all_rows(space) if space.size <= asked["plans"] else drawn_rows(space, asked["plans"])
    jobs = _jobs("plans", [list(map(int, row)) for row in rows], CHUNK)
    table = _measured(config, name, jobs, work, in_process, tell)
    places = spread(table, asked["finetuned"])
    tuned = [[int(place), [int(o) for o in rows[place]], seed] for place in places for seed in asked["seeds"]]
    tuned_table = _measured(config, name, _jobs("finetuned", tuned, TUNED_CHUNK), work, in_process, tell)
    write_recording(config, name, output, prepared, rows, table, tuned_table, time.perf_counter() - started, asked)


def _same(path: Path, asked: dict[str, Any]) -> None:
    """What an interrupted recording was asked for must be asked for again."""
    if not path.exists():
        write_json(path, asked)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    for key, value in asked.items():
        if before.get(key) != value:
            raise RunError(f"{path.parent.parent} was begun with another {key}: go on with the same, or start anew")


def _jobs(kind: str, items: list[Any], size: int) -> list[Job]:
    return [(kind, i, items[start : start + size]) for i, start in enumerate(range(0, len(items), size))]


def _measured(config: Config, name: str, jobs: list[Job], work: Path, in_process: bool, tell: Tell) -> pd.DataFrame:
    """The rows of all jobs, in order; each job's are on disk before the next is asked for."""
    paths = [work / kind / f"{number:06d}.parquet" for kind, number, _ in jobs]
    left = [job for job, path in zip(jobs, paths, strict=True) if not path.exists()]
    done = len(jobs) - len(left)
    kind = jobs[0][0] if jobs else ""
    tell(kind, done, len(jobs))
    given = [(config, name, str(work), job) for job in left]
    for number, rows in mapped_jobs(_do, given, config.run, in_process):
        write_table(work / kind / f"{number:06d}.parquet", pd.DataFrame(rows))
        done += 1
        tell(kind, done, len(jobs))
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True) if paths else pd.DataFrame()


_prepared: dict[str, Prepared] = {}


def _do(given: tuple[Config, str, str, Job]) -> tuple[int, list[dict[str, Any]]]:
    """Measures the plans of one job, in the process that holds the task."""
    config, name, work, job = given
    if work not in _prepared:
        torch.set_num_threads(config.run.threads)
        _prepared[work] = load_prepared(config, name, Path(work) / "task")
    prepared, (kind, number, items) = _prepared[work], job
    task = prepared.task.under(EVERYTHING)
    with limited_threads(config.run.threads):
        if kind == "plans":
            return number, [measure_plan(task, prepared.test, np.array(row, dtype=np.int64)) for row in items]
        return number, [
            {
                "plan": place,
                "seed": seed,
                **finetune_plan(task, prepared.test, task.space.plan(np.array(row, dtype=np.int64)), seed),
            }
            for place, row, seed in items
        ]
