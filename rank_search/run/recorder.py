"""Recording a task: every plan of a small space, or a sample of a large one; resumable, in parallel under Ray."""

from __future__ import annotations

import json
import math
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rank_search import __version__
from rank_search.arrays import IntArray
from rank_search.errors import ConfigError, RunError
from rank_search.files import storage_errors, write_atomically, write_json, write_tensors, write_text
from rank_search.recorded.recording import (
    DATASHEET,
    FINETUNED,
    FORMAT,
    MANIFEST,
    OPTION,
    PLANS,
    WEIGHTS,
    sha256,
)
from rank_search.run.config import Config
from rank_search.run.datasheet import datasheet
from rank_search.run.lock import only_writer
from rank_search.run.measure_plan import finetune_plan, measure_plan
from rank_search.run.prepare import Prepared, load_prepared, prepare_task
from rank_search.run.ray_map import mapped_jobs
from rank_search.run.threads import limited_threads
from rank_search.space import Budget, RankSpace

CHUNK = 256
TUNED_CHUNK = 6
WORK = "work"
EVERYTHING = Budget(macs=2**62)  # some options cost more than the dense layer

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
        in_process: without Ray; the results are the same.
        tell: hears what was done: ``plans`` or ``finetuned``, how many chunks, of how many.

    Returns:
        The folder.

    Raises:
        RankSearchError: if it cannot start; what was measured stays.
    """
    if name not in config.tasks:
        raise ConfigError(f"there is no task {name!r}; it is one of {', '.join(config.tasks)}")
    if config.tasks[name].space.errors != "weight":
        raise ConfigError("a recording keeps the errors of weights: set space.errors=weight")
    if (output / MANIFEST).exists():
        raise RunError(f"{output} holds a finished recording: give another folder with --output")
    config = config.model_copy(update={"budgets": [EVERYTHING.to_dict()]})
    with only_writer(output):
        work = output / WORK
        started = time.perf_counter()
        asked = {"plans": plans, "finetuned": finetuned, "seeds": list(seeds), "task": _section(config, name)}
        _same(work / "asked.json", asked)
        with limited_threads(config.run.threads):
            prepared = prepare_task(config, name, work / "task")
        space = prepared.task.space
        rows = _all_rows(space) if space.size <= plans else _drawn_rows(space, plans)
        jobs = _jobs("plans", [list(map(int, row)) for row in rows], CHUNK)
        table = _measured(config, name, jobs, work, in_process, tell)
        places = _spread(table, finetuned)
        tuned = [[int(place), [int(o) for o in rows[place]], seed] for place in places for seed in seeds]
        tuned_table = _measured(config, name, _jobs("finetuned", tuned, TUNED_CHUNK), work, in_process, tell)
        _finish(config, name, output, prepared, rows, table, tuned_table, time.perf_counter() - started, asked)
        shutil.rmtree(work)
    return output


def _section(config: Config, name: str) -> dict[str, Any]:
    return dict(config.tasks[name].model_dump(mode="json"))


def _same(path: Path, asked: dict[str, Any]) -> None:
    """What an interrupted recording was asked for must be asked for again."""
    if not path.exists():
        write_json(path, asked)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    for key, value in asked.items():
        if before.get(key) != value:
            raise RunError(f"{path.parent.parent} was begun with another {key}: go on with the same, or start anew")


def _all_rows(space: RankSpace) -> IntArray:
    """Every plan, the last layer changing fastest."""
    shape = [len(options) for options in space.layers]
    return np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), axis=1).astype(np.int64)


def _drawn_rows(space: RankSpace, count: int) -> IntArray:
    """So many different plans: half drawn uniformly, half around what the weight errors would choose."""
    rng = np.random.default_rng(0)
    found: dict[bytes, IntArray] = {}
    errors = space.relative_errors()
    dense, least = space.dense_cost["macs"], space.smallest_cost["macs"]
    for number in range(20 * count):
        if len(found) == count:
            break
        if number % 2:
            row = space.indices(space.decode(rng.random(space.width)))
        else:
            budget = Budget(macs=int(rng.uniform(max(least, 2), dense)))
            noisy = [error * np.exp(rng.normal(0, 0.5, len(error))) for error in errors]
            row = space.minimise(noisy, budget).indices
        found.setdefault(row.tobytes(), row)
    return np.stack(list(found.values()))


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
        _write_table(work / kind / f"{number:06d}.parquet", pd.DataFrame(rows))
        done += 1
        tell(kind, done, len(jobs))
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True) if paths else pd.DataFrame()


def _write_table(path: Path, frame: pd.DataFrame) -> None:
    write_atomically(
        path, lambda temporary: frame.to_parquet(temporary, index=False, compression="zstd", compression_level=19)
    )


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


def _spread(table: pd.DataFrame, count: int) -> IntArray:
    """Places of plans spread over cost and loss: in each of ten bands of equal count in MACs the quantiles of loss."""
    usable = np.flatnonzero(np.isfinite(table["val_loss"].to_numpy()))
    order = usable[np.argsort(table["macs"].to_numpy()[usable], kind="stable")]
    found: list[int] = []
    bands = np.array_split(order, 10)
    for i, band in enumerate(bands):
        wanted = (i + 1) * count // 10 - i * count // 10
        by_loss = band[np.argsort(table["val_loss"].to_numpy()[band], kind="stable")]
        found += by_loss[np.unique(np.rint(np.linspace(0, len(by_loss) - 1, wanted)).astype(np.int64))].tolist()
    return np.unique(np.array(found, dtype=np.int64))


def _finish(
    config: Config,
    name: str,
    output: Path,
    prepared: Prepared,
    rows: IntArray,
    table: pd.DataFrame,
    tuned: pd.DataFrame,
    seconds: float,
    asked: dict[str, Any],
) -> None:
    """Writes the tables, the weights, the manifest and the datasheet."""
    space = prepared.task.space
    options = pd.DataFrame(rows.astype(np.uint16), columns=[f"{OPTION}{i}" for i in range(rows.shape[1])])
    counts = dict.fromkeys(space.metric_names, np.int64)
    narrow = {column: counts.get(column, np.float32) for column in table.columns}
    plans = pd.concat([options, table.astype(narrow)], axis=1)
    for column in space.metric_names:
        plans[column] = pd.to_numeric(plans[column], downcast="integer")
    tuned = tuned.astype({c: np.int32 if c in ("plan", "seed") else np.float32 for c in tuned.columns})
    with storage_errors(output):
        for file, frame in ((PLANS, plans), (FINETUNED, tuned)):
            _write_table(output / file, frame)
    write_tensors(output / WEIGHTS, prepared.task.model.state_dict())
    section = _section(config, name)
    section["model"] |= {"weights": None}
    manifest = {
        "format": FORMAT,
        "name": name,
        "task": section,
        "layers": [
            {
                "name": options.layer.name,
                "options": [_plain(space, i, row) for row in range(len(options))],
                "errors": (options.errors / max(options.energy, 1e-300)).tolist(),
            }
            for i, options in enumerate(space.layers)
        ],
        "dense": prepared.dense,
        "made": {
            "date": date.today().isoformat(),
            "plans": len(plans),
            "of": str(space.size),
            "finetuned": len(tuned),
            "cpu_seconds_of_evaluations": round(float(table["seconds"].sum()), 1),
            "last_session_seconds": round(seconds, 1),
            "workers": config.run.workers,
            "threads": config.run.threads,
            "versions": {
                "rank-search": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "machine": f"{platform.system()} {platform.machine()}",
            "asked": {key: asked[key] for key in ("plans", "finetuned", "seeds")},
        },
        "files": {file: sha256(output / file) for file in (PLANS, FINETUNED, WEIGHTS)},
    }
    write_text(output / DATASHEET, datasheet(manifest, plans, tuned))
    write_json(output / MANIFEST, manifest)


def _plain(space: RankSpace, layer: int, row: int) -> Any:
    options = space.layers[layer]
    rows = np.zeros(len(space.layers), dtype=np.int64)
    rows[layer] = row
    return space.plan(rows).to_dict()[options.layer.name]
