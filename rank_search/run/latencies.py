"""Timing a task's network without its weights: what ``rank-search latency`` does."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rank_search.deploy.latency import Latency, calibrated
from rank_search.deploy.latency.table import shared_with
from rank_search.errors import ConfigError, RunError
from rank_search.plugins import nearest
from rank_search.run.config import Config
from rank_search.run.dense_network import cache_folder
from rank_search.run.target_latency import aligned, target_latency
from rank_search.run.task_space import bare_space
from rank_search.space import RankSpace
from rank_search.task import load_model
from rank_search.task.data.load_data import load_data
from rank_search.threads import limited_threads


def time_task(
    config: Config, task: str | None, output: Path | None = None
) -> tuple[str, RankSpace, Latency, nn.Module]:
    """Times the layers of a task's network and some whole networks; times do not depend on weights.

    Args:
        config: whose task has a ``target``; eager PyTorch and one sample a run without.
        task: its name; None is the first.
        output: a JSON file for the table.

    Returns:
        The task's name, its space, the metric, the dense network with random weights.

    Raises:
        ConfigError: if there is no such task, or it is a recorded one.
        RunError: if the file exists.
        EngineError: if the engine is not installed or cannot run the network.
    """
    name = task or next(iter(config.tasks))
    if name not in config.tasks:
        raise ConfigError(
            f"there is no task {name!r}{nearest(name, config.tasks)}; it is one of {', '.join(config.tasks)}"
        )
    section = config.tasks[name]
    if section.recorded is not None:
        raise ConfigError(f"the task {name!r} is recorded: its times are those of the machine that recorded it")
    if output is not None and output.exists():
        raise RunError(f"{output} exists: give a new file with --output")
    metric = target_latency(section)
    with limited_threads(config.run.threads):
        data = load_data(section.data.name, **section.data.options)
        model = load_model(section.model.name, **section.model.options).eval()
        with shared_with(metric.table, cache_folder() / "latency"):
            space = bare_space(section, model, data, metrics=[metric], align=aligned(section))
            space = calibrated(space, model)
    if output is not None:
        metric.table.write(output)
    return name, space, metric, model
