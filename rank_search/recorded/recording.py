"""A recording on disk: a manifest, tables in Parquet, the dense weights; every file is known by its hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import InvalidInputError, RecordingError, UnknownNameError
from rank_search.files import read_json
from rank_search.plugins import nearest
from rank_search.space import Budget, Choice, RankPlan

FORMAT = 1
MANIFEST, PLANS, FINETUNED, WEIGHTS = "recording.json", "plans.parquet", "finetuned.parquet", "dense.safetensors"
DATASHEET = "DATASHEET.md"
REFITTED = "refitted.parquet"
FILES = (PLANS, FINETUNED, WEIGHTS)
OPTIONAL = (REFITTED,)
INSTALLED = Path(__file__).parent / "data"
OPTION = "option_"
"""Columns ``option_0``, ``option_1``, ...: per layer of the manifest which of its options the plan takes."""
SETS = ("raw_val", "raw_test", "val", "test")
"""Prefixes of measured columns: before and after the repair (recalibrated batch norm), validation and test set."""


@dataclass(frozen=True)
class Recording:
    """A recorded task.

    Attributes:
        name: what it is called.
        folder: where it is.
        manifest: the content of ``recording.json``.
        plans: a row per plan: ``option_*``, per set of :data:`SETS` and measure a column such as ``val_loss``,
            ``weight_error``, the costs by metric, ``latency_ms`` (per sample, of the recording machine) and ``seconds``
            (CPU time of one evaluation there).
        finetuned: a row per plan and seed that was fine-tuned: ``plan`` (its row in ``plans``), ``seed``, and the
            measures on validation and test set afterwards.
        refitted: a row per plan that was measured after the repair that ``manifest["refitted"]`` tells: ``plan`` (its
            row in ``plans``), ``val_*``, ``test_*`` and ``seconds`` (CPU time: build, repair, validate); None if the
            recording has no such table. Its plans are no sample of the space.
    """

    name: str
    folder: Path
    manifest: Mapping[str, Any]
    plans: pd.DataFrame
    finetuned: pd.DataFrame
    refitted: pd.DataFrame | None = None

    @property
    def weights(self) -> Path:
        """The dense network's."""
        return self.folder / WEIGHTS

    @cached_property
    def rows(self) -> IntArray:
        """``[plans, layers]``: the option of every layer, 0 for dense."""
        names = [f"{OPTION}{i}" for i in range(len(self.manifest["layers"]))]
        return self.plans[names].to_numpy(dtype=np.int64)

    @cached_property
    def positions(self) -> Mapping[bytes, int]:
        """From the bytes of a plan's rows (int64) to its place in ``plans``."""
        return {row.tobytes(): place for place, row in enumerate(np.ascontiguousarray(self.rows))}

    def choices(self, layer: int) -> list[Choice]:
        """The options of a layer, dense first."""
        given = self.manifest["layers"][layer]
        plan = {str(i): option for i, option in enumerate(given["options"])}
        return list(RankPlan.from_json(plan).values())

    def column(self, name: str) -> FloatArray:
        """One column as float64."""
        return self.plans[name].to_numpy(dtype=np.float64)

    def within(self, budget: Budget) -> IntArray:
        """Places of the plans within a budget.

        Raises:
            BudgetError: if the budget bounds a metric that was not recorded.
        """
        limits = budget.limits(self.manifest["dense"]["cost"])
        return np.flatnonzero(np.logical_and.reduce([self.column(name) <= most for name, most in limits.items()]))

    @property
    def exhaustive(self) -> bool:
        """Whether every plan of the space is there."""
        return len(self.plans) == math.prod(len(layer["options"]) for layer in self.manifest["layers"])

    def __repr__(self) -> str:
        kind = "all" if self.exhaustive else "some"
        return f"Recording({self.name!r}, {kind} {len(self.plans):,} plans of {len(self.manifest['layers'])} layers)"


def recordings() -> list[str]:
    """Names of the recordings that are installed."""
    return sorted(path.parent.name for path in INSTALLED.glob(f"*/{MANIFEST}"))


def read_recording(name: str | Path) -> Recording:
    """Reads a recording and checks every file of it.

    Args:
        name: of an installed one, or the path of a folder that holds one.

    Raises:
        UnknownNameError: if there is none.
        RecordingError: if a file is missing, damaged, or of a newer version.
    """
    folder = folder_of(name)
    manifest = _manifest(folder)
    for file in (*FILES, *(file for file in OPTIONAL if file in manifest["files"])):
        _check(folder / file, str(manifest["files"].get(file)))
    refitted = _read(folder / REFITTED) if REFITTED in manifest["files"] else None
    return Recording(
        str(manifest["name"]), folder, manifest, _read(folder / PLANS), _read(folder / FINETUNED), refitted
    )


def section_of(name: str | Path) -> dict[str, Any]:
    """The section of a config that was recorded; only the manifest is read.

    Raises:
        UnknownNameError, RecordingError
    """
    return with_repair(_manifest(folder_of(name))["task"])


def with_repair(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section with the repair that was recorded; the first recordings knew recalibration alone."""
    samples = section["evaluation"]["recalibration_samples"]
    return {"repair": "recalibrate", "repair_inputs": samples, **section}


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plans_of(recording: Recording) -> Iterator[RankPlan]:
    """The recorded plans, in order."""
    names = [layer["name"] for layer in recording.manifest["layers"]]
    choices = [recording.choices(i) for i in range(len(names))]
    for row in recording.rows:
        yield RankPlan({name: choices[i][option] for i, (name, option) in enumerate(zip(names, row, strict=True))})


def folder_of(name: str | Path) -> Path:
    """Where a recording is, by the name of an installed one or by path; nothing of it is read.

    Raises:
        UnknownNameError, RecordingError
    """
    known = recordings()
    if str(name) in known:
        return INSTALLED / str(name)
    folder = Path(name).expanduser()
    if (folder / MANIFEST).is_file():
        return folder
    if folder.is_dir() and (folder.is_absolute() or len(folder.parts) > 1):
        raise RecordingError(f"{folder} holds no {MANIFEST}: it is no recording")
    raise UnknownNameError(
        f"unknown recorded task {str(name)!r}{nearest(str(name), known)}; known: {', '.join(known) or 'none'}, or give "
        f"a folder with a {MANIFEST}"
    )


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = read_json(folder / MANIFEST)
    except InvalidInputError as error:
        raise RecordingError(str(error)) from None
    if not isinstance(manifest, dict) or not {"format", "name", "task", "layers", "files", "dense"} <= set(manifest):
        raise RecordingError(f"{folder / MANIFEST} is no manifest of a recording: install or record it again")
    if manifest["format"] != FORMAT:
        raise RecordingError(
            f"{folder / MANIFEST} has the format {manifest['format']}, this version reads {FORMAT}: install the "
            "version of rank-search that wrote it, or record it again"
        )
    return manifest


def _check(path: Path, expected: str) -> None:
    if not path.is_file():
        raise RecordingError(f"{path} is missing: install or record it again")
    found = sha256(path)
    if found != expected:
        raise RecordingError(
            f"{path} is damaged: its SHA-256 is {found}, {MANIFEST} says {expected}; install or record it again"
        )


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise RecordingError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
