"""``rank_search.load_recorded``: a recorded task by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rank_search.errors import RecordingError
from rank_search.recorded.recorded_task import RecordedTask
from rank_search.recorded.recording import Recording, read_recording, with_repair
from rank_search.space import Budget, RankSpace
from rank_search.task import Data, Recipe, load_data, load_model

DEFAULT_BUDGET = Budget(macs=0.5)


def load_recorded(name: str | Path, budget: Budget | None = None, seed: int = 0) -> RecordedTask:
    """A task whose evaluations are look-ups; any searcher runs on it unchanged.

    Args:
        name: of an installed recording (see :func:`recordings`), or the path of a folder that holds one.
        budget: hard; half of the MACs unless told.
        seed: of the fine-tune.

    Raises:
        UnknownNameError: if there is no such recording.
        RecordingError: if a file of it is missing or damaged.
        InfeasibleBudgetError: if no recorded plan meets the budget.
    """
    return task_of_recording(read_recording(name), budget or DEFAULT_BUDGET, seed)


def task_of_recording(recording: Recording, budget: Budget, seed: int = 0) -> RecordedTask:
    """The task of a recording that was read."""
    section = with_repair(recording.manifest["task"])
    model, data = network_of(recording), data_of(recording)
    return RecordedTask(
        recording,
        model,
        _space(recording, model, data),
        budget,
        data,
        Recipe(**section["finetune"]),
        seed,
        evaluation_samples=section["evaluation"]["samples"],
        recalibration_samples=section["evaluation"]["recalibration_samples"],
        objective=section["objective"],
        repair=section["repair"],
        repair_inputs=section["repair_inputs"],
        evaluation_repair=section["evaluation"].get("repair", "recalibrate"),
    )


def network_of(recording: Recording) -> nn.Module:
    """The dense network with its recorded weights."""
    section = recording.manifest["task"]["model"]
    return load_model(section["name"], recording.weights, **section["options"])


def data_of(recording: Recording) -> Data:
    """The data, test set and all."""
    options = dict(recording.manifest["task"]["data"])
    return _data(options.pop("name"), tuple(sorted(options.items())))


@lru_cache(maxsize=4)
def _data(name: str, options: tuple[tuple[str, Any], ...]) -> Data:
    return load_data(name, **dict(options))


def _space(recording: Recording, model: nn.Module, data: Data) -> RankSpace:
    """The recorded options with their recorded errors: the same on every machine."""
    settings = recording.manifest["task"]["space"]
    layers = recording.manifest["layers"]
    whole = RankSpace.from_model(
        model,
        data.example(),
        settings["forms"],
        [layer["name"] for layer in layers],
        multiple_of=settings["multiple_of"],
        metrics=settings["metrics"],
    )
    found = [options.layer.name for options in whole.layers]
    if found != [layer["name"] for layer in layers]:
        raise RecordingError(
            f"the recording {recording.name!r} is of other layers than this version finds in the network: {found}"
        )
    tables = []
    for i, (options, layer) in enumerate(zip(whole.layers, layers, strict=True)):
        table = options.only(recording.choices(i))
        if [table.choice(row) for row in range(len(table))] != recording.choices(i):
            raise RecordingError(f"the recording {recording.name!r} lists the options of {layer['name']!r} differently")
        tables.append(table.with_relative_errors(np.array(layer["errors"])))
    return whole.with_tables(tables)
