"""Making a task ready once, in the driver: dense weights, decompositions, dense accuracies. Workers only read."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rank_search.deploy.latency import refined
from rank_search.deploy.latency.table import shared_with
from rank_search.errors import ConfigError
from rank_search.files import read_json, write_json, write_tensors
from rank_search.recorded.load import data_of, task_of_recording
from rank_search.recorded.recording import read_recording
from rank_search.run.config import LATENCY, Config, TaskConfig
from rank_search.run.dense_network import DENSE_WEIGHTS, cache_folder, dense_model, with_weights
from rank_search.run.same_inputs import check_same_data, check_same_weights
from rank_search.run.target_latency import LATENCIES, counts_latency, target_latency
from rank_search.run.task_space import bare_space, task_space
from rank_search.space import Budget
from rank_search.task import Data, Task
from rank_search.task.data.load_data import load_data
from rank_search.task.evaluation import validate

DENSE_FACTS = "dense.json"


@dataclass(frozen=True)
class Prepared:
    """Args:
    task: ready for searches, under the first budget of the config.
    test: the test set, which no searcher sees; None if the data has none.
    dense: of the dense network its measures on the ``validation`` and the ``test`` set (or None), and its ``cost``.
    """

    task: Task
    test: Any
    dense: dict[str, Any]


def prepare_task(config: Config, name: str, folder: Path) -> Prepared:
    """Trains or loads the dense network, measures it, decomposes every layer, and keeps all of it in ``folder``.

    Raises:
        InvalidInputError: for anything in the config that cannot work, infeasible budgets among it.
    """
    section = config.tasks[name]
    if section.recorded is not None:
        return _recorded(config, section, folder)
    _check_section(config, section)
    data = load_data(section.data.name, **section.data.options)
    check_same_data(data, folder)
    check_same_weights(section.model.weights, folder)
    stored = folder / DENSE_WEIGHTS
    if stored.exists():
        model = with_weights(section, stored)
    else:
        model = dense_model(section, data, config.run.device)
        write_tensors(stored, model.state_dict())
    model.to(config.run.device)
    _check_reachable(config, section, model, data)
    measure_latencies(config, section, model, data, folder)
    task = _task(config, section, model, data, folder)
    for bounds in config.budgets:
        task.space.require_feasible(Budget(**bounds))
    task.space.relative_errors()
    if not (folder / DENSE_FACTS).exists():
        objective = task.objective
        test = None if data.test is None else dict(validate(model, data, data.test, objective).measures)
        facts = {
            "validation": dict(validate(model, data, data.validation, objective).measures),
            "test": test,
            "cost": task.space.dense_cost,
        }
        write_json(folder / DENSE_FACTS, facts)
    return Prepared(task, data.test, read_json(folder / DENSE_FACTS))


def _check_reachable(config: Config, section: TaskConfig, model: nn.Module, data: Data) -> None:
    """Looks whether budgets can be met before every layer is decomposed; times are not known yet.

    Raises:
        InfeasibleBudgetError: names the first that cannot.
    """
    bounds = [{name: bound for name, bound in one.items() if name != LATENCY} for one in config.budgets]
    if section.space.prune and any(bounds):
        space = bare_space(section, model, data)
        for one in filter(None, bounds):
            space.require_reachable(Budget(**one))


def load_prepared(config: Config, name: str, folder: Path) -> Prepared:
    """Reads what :func:`prepare_task` left in ``folder``."""
    section = config.tasks[name]
    if section.recorded is not None:
        return _recorded(config, section, folder)
    data = load_data(section.data.name, **section.data.options)
    model = with_weights(section, folder / DENSE_WEIGHTS).to(config.run.device)
    return Prepared(_task(config, section, model, data, folder), data.test, read_json(folder / DENSE_FACTS))


def _recorded(config: Config, section: TaskConfig, folder: Path) -> Prepared:
    """A recorded task, whose dense network and facts are copied into the folder."""
    assert section.recorded is not None
    recording = read_recording(section.recorded)
    task = task_of_recording(recording, Budget(**config.budgets[0]))
    for bounds in config.budgets:
        task.under(Budget(**bounds))
    if not (folder / DENSE_FACTS).exists():
        write_tensors(folder / DENSE_WEIGHTS, task.model.state_dict())
        write_json(folder / DENSE_FACTS, recording.manifest["dense"])
    return Prepared(task, data_of(recording).test, read_json(folder / DENSE_FACTS))


def _check_section(config: Config, section: TaskConfig) -> None:
    """Says what is still to be set before anything is loaded.

    Raises:
        ConfigError: if weights, data files or the device are missing.
    """
    settings = section.model
    if (settings.weights is None) == (settings.train is None):
        if settings.weights is not None:
            raise ConfigError(
                f"the model {settings.name!r} has both model.weights and model.train: drop one, e.g. "
                "--set tasks.NAME.model.train=null"
            )
        raise ConfigError(
            f"the model {settings.name!r} needs its weights: set model.weights to a .safetensors or .pt file, or "
            "model.train to train it on the spot; e.g. --set tasks.NAME.model.weights=FILE"
        )
    unset = [
        key for key, value in section.data.options.items() if value is None and key in ("train", "validation", "root")
    ]
    if unset:
        raise ConfigError(
            f"the data set {section.data.name!r} needs {' and '.join(unset)}: give the path, e.g. "
            f"--set tasks.NAME.data.{unset[0]}=PATH"
        )
    if config.run.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("run.device is cuda, but torch finds no CUDA device here; set run.device=cpu")


def _task(config: Config, section: TaskConfig, model: nn.Module, data: Data, folder: Path) -> Task:
    space = task_space(section, model, data, folder)
    return Task(
        model,
        space,
        Budget(**config.budgets[0]),
        data,
        copy.deepcopy(section.finetune),  # the config itself is out of a searcher's reach
        evaluation_samples=section.evaluation.samples,
        recalibration_samples=section.evaluation.recalibration_samples,
        objective=copy.deepcopy(section.objective),
        repair=section.repair,
        repair_inputs=section.repair_inputs,
        evaluation_repair=section.evaluation.repair,
    )


def measure_latencies(config: Config, section: TaskConfig, model: nn.Module, data: Data, folder: Path) -> None:
    """Times layers and whole networks where the budgets lie, once, and keeps the table in ``folder``.

    Every process of the run reads it, so that all see the same costs. The times themselves are shared with other runs
    on this machine.

    Raises:
        EngineError: if the engine is not installed or cannot run the network, or a table is of another set-up.
        InfeasibleBudgetError: if no plan meets a budget.
    """
    if not counts_latency(section) or (folder / LATENCIES).exists():
        return
    metric = target_latency(section)
    with shared_with(metric.table, cache_folder() / "latency"):
        space = task_space(section, model, data, folder, metric)
        refined(space, model, [Budget(**bounds) for bounds in config.budgets])
    metric.table.write(folder / LATENCIES)
