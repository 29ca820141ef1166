"""Writing a finished recording: tables, weights, manifest, datasheet."""

from __future__ import annotations

import platform
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rank_search import __version__
from rank_search.arrays import IntArray
from rank_search.files import storage_errors, write_atomically, write_json, write_tensors, write_text
from rank_search.recorded.recording import (
    DATASHEET,
    FINETUNED,
    FORMAT,
    MANIFEST,
    OPTION,
    PLANS,
    REFITTED,
    WEIGHTS,
    Recording,
    sha256,
)
from rank_search.run.config import Config
from rank_search.run.datasheet import datasheet
from rank_search.run.prepare import Prepared
from rank_search.space import RankSpace

WORK = "work"
"""The folder of a recording that holds what is half done."""


def section_as_data(config: Config, name: str) -> dict[str, Any]:
    return dict(config.tasks[name].model_dump(mode="json"))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    write_atomically(
        path, lambda temporary: frame.to_parquet(temporary, index=False, compression="zstd", compression_level=19)
    )


def write_recording(
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
            write_table(output / file, frame)
    write_tensors(output / WEIGHTS, prepared.task.model.state_dict())
    section = section_as_data(config, name)
    section["model"] |= {"weights": None}
    manifest = {
        "format": FORMAT,
        "name": name,
        "task": section,
        "layers": [
            {
                "name": options.layer.name,
                "options": [_plain(space, i, row) for row in range(len(options))],
                "errors": [options.relative_error(row) for row in range(len(options))],
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
            "versions": _versions(),
            "machine": _machine(),
            "asked": {key: asked[key] for key in ("plans", "finetuned", "seeds")},
        },
        "files": {file: sha256(output / file) for file in (PLANS, FINETUNED, WEIGHTS)},
    }
    write_text(output / DATASHEET, datasheet(manifest, plans, tuned))
    write_json(output / MANIFEST, manifest)


def write_refitted(
    recording: Recording, table: pd.DataFrame, repair: str, inputs: int, threads: int, asked: dict[str, Any]
) -> None:
    """Writes the table of refitted plans of a recording, and its manifest and datasheet anew.

    Args:
        recording: as it was read.
        table: ``plan``, measures and ``seconds``: all rows.
        repair, inputs: what they were measured after.
        threads: of every measurement.
        asked: which plans were asked for this time.
    """
    table = table.astype({c: np.int32 if c == "plan" else np.float32 for c in table.columns})
    before = recording.manifest.get("refitted", {}).get("asked", [])
    for earlier in (of for of in before if of["budgets"] == asked["budgets"]):
        asked = {**asked, **{key: max(asked[key], earlier[key]) for key in ("near", "answers")}}
    manifest = {
        **recording.manifest,
        "refitted": {
            "repair": repair,
            "inputs": inputs,
            "plans": len(table),
            "cpu_seconds": round(float(table["seconds"].sum()), 1),
            "threads": threads,
            "date": date.today().isoformat(),
            "versions": _versions(),
            "machine": _machine(),
            "asked": [*(of for of in before if of["budgets"] != asked["budgets"]), asked],
        },
    }
    folder = recording.folder
    with storage_errors(folder):
        write_table(folder / REFITTED, table)
    manifest["files"] = {**recording.manifest["files"], REFITTED: sha256(folder / REFITTED)}
    write_json(folder / MANIFEST, manifest)
    write_text(folder / DATASHEET, datasheet(manifest, recording.plans, recording.finetuned, table))


def _versions() -> dict[str, str]:
    return {
        "rank-search": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}"


def _plain(space: RankSpace, layer: int, row: int) -> Any:
    options = space.layers[layer]
    rows = np.zeros(len(space.layers), dtype=np.int64)
    rows[layer] = row
    return space.plan(rows).to_dict()[options.layer.name]
