"""The rank space of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rank_search.deploy.latency import Latency
from rank_search.files import read_tensors, write_tensors
from rank_search.recorded.load import task_of_recording
from rank_search.recorded.recording import read_recording
from rank_search.run.config import LATENCY, TaskConfig
from rank_search.run.target_latency import LATENCIES, aligned, counts_latency, target_latency
from rank_search.space import Budget, RankSpace, input_covariances, patch_moments
from rank_search.task import Data, load_model
from rank_search.task.data.load_data import load_data
from rank_search.task.evaluation import BATCH

FACTORS, COVARIANCES = "factors", "covariances.safetensors"


def task_space(
    section: TaskConfig, model: nn.Module, data: Data, folder: Path, latency: Latency | None = None
) -> RankSpace:
    """The whole space.

    Args:
        section, model, data, folder: of the task.
        latency: that is measured now; else the run folder's table is read, if there is one.
    """
    settings = section.space
    metrics: list[Any] = [name for name in settings.metrics if name != LATENCY]
    align: bool | int = False
    if counts_latency(section):
        metrics.append(latency or target_latency(section, folder / LATENCIES))
        align = aligned(section)
    measured = None if settings.errors == "weight" else _second_moments(section, model, data, folder)
    return bare_space(
        section,
        model,
        data,
        cache=folder / FACTORS,
        covariances=measured if settings.errors == "activation" else None,
        moments=measured if settings.errors == "refit" else None,
        prune=settings.prune,
        max_options=settings.max_options,
        metrics=metrics,
        align=align,
    )


def bare_space(section: TaskConfig, model: nn.Module, data: Data, **more: Any) -> RankSpace:
    """The space as the config has it, apart from what needs the trained weights and from times."""
    settings = section.space
    return RankSpace.from_model(
        model,
        data.example(),
        settings.forms,
        settings.include,
        settings.exclude,
        multiple_of=settings.multiple_of,
        **{
            "max_options": None if settings.prune else settings.max_options,
            "metrics": [name for name in settings.metrics if name != LATENCY],
            **more,
        },
    )


def untrained_space(section: TaskConfig) -> RankSpace:
    """The rank space of a task without its weights, nothing pruned: layers, options and costs do not depend on them."""
    if section.recorded is not None:
        return task_of_recording(read_recording(section.recorded), Budget(macs=1.0)).space
    data = load_data(section.data.name, **section.data.options)
    model = load_model(section.model.name, **section.model.options)
    return bare_space(section, model, data)


def _second_moments(section: TaskConfig, model: nn.Module, data: Data, folder: Path) -> dict[str, Tensor]:
    """Of the layers' inputs, as the errors of the space want them.

    Measured once and kept in ``folder``: other machines may sum in another order.
    """
    path = folder / COVARIANCES
    if not path.exists():
        samples = data.train.subset(section.space.calibration_samples, seed=0)
        batches = (batch.inputs for batch in data.batches(samples, BATCH))
        names = [options.layer.name for options in bare_space(section, model, data).layers]
        if section.space.errors == "refit":
            write_tensors(path, patch_moments(model, batches, len(samples), names))
        else:
            centred = section.evaluation.recalibration_samples > 0
            write_tensors(path, input_covariances(model, batches, centred, names))
    return read_tensors(path)[0]
