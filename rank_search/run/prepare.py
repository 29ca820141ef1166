"""Making a task ready once, in the driver: dense weights, decompositions, dense accuracies. Workers only read."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rank_search import __version__
from rank_search.deploy.engines import make_engine
from rank_search.deploy.latency import Latency, LatencyTable, refined
from rank_search.deploy.latency.table import shared_with
from rank_search.digests import digest_of, digest_of_text
from rank_search.errors import ConfigError, InvalidInputError, RunError
from rank_search.files import read_json, read_tensors, write_json, write_tensors
from rank_search.recorded.load import data_of, task_of_recording
from rank_search.recorded.recording import read_recording
from rank_search.run.config import LATENCY, Config, TargetConfig, TaskConfig
from rank_search.space import Budget, RankSpace, input_covariances, patch_moments
from rank_search.task import Data, Task, load_model
from rank_search.task.data.load_data import load_data
from rank_search.task.evaluation import BATCH, validate
from rank_search.task.networks.weights import check_finite, load_weights
from rank_search.task.training import train

DENSE_WEIGHTS, DENSE_FACTS, FACTORS = "dense.safetensors", "dense.json", "factors"
COVARIANCES, LATENCIES, DATA_DIGEST = "covariances.safetensors", "latency.json", "data.json"


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
    _check_same_data(data, folder)
    stored = folder / DENSE_WEIGHTS
    if stored.exists():
        model = _with_weights(section, stored)
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


def _check_same_data(data: Data, folder: Path) -> None:
    """Looks whether a run that goes on has the data that it began with.

    Raises:
        RunError: if not.
    """
    texts, tensors = data.fingerprint()
    digest = digest_of_text([texts, digest_of(tensors)])
    if not (folder / DATA_DIGEST).exists():
        write_json(folder / DATA_DIGEST, {"digest": digest})
    elif read_json(folder / DATA_DIGEST).get("digest") != digest:
        raise RunError(
            "its data are not those that this run began with, and results of both would be mixed: put them back, or "
            "begin anew in another folder with --output"
        )


def load_prepared(config: Config, name: str, folder: Path) -> Prepared:
    """Reads what :func:`prepare_task` left in ``folder``."""
    section = config.tasks[name]
    if section.recorded is not None:
        return _recorded(config, section, folder)
    data = load_data(section.data.name, **section.data.options)
    model = _with_weights(section, folder / DENSE_WEIGHTS).to(config.run.device)
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


def dense_model(section: TaskConfig, data: Data, device: str = "cpu") -> nn.Module:
    """The dense network with its weights: from the file, or trained on the spot and cached for this user.

    Raises:
        WeightsError: if the file does not fit.
    """
    settings = section.model
    if settings.weights is not None:
        return _with_weights(section, Path(settings.weights))
    assert settings.train is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = load_model(settings.name, **settings.options)
    if settings.train.epochs == 0:
        check_finite(model)
        return model
    bare_space(section, model, data)  # what is wrong with the network or the space is said before it is trained
    cached = cache_folder() / "dense" / f"{_training_key(section, model, data, device)}.safetensors"
    if cached.exists():
        try:
            return _with_weights(section, cached)
        except InvalidInputError:
            cached.unlink(missing_ok=True)
    train(model.to(device), data, settings.train, seed=0, objective=section.objective)
    check_finite(model)
    write_tensors(cached, model.state_dict())
    return model


def _training_key(section: TaskConfig, model: nn.Module, data: Data, device: str) -> str:
    """A hash of all that the training starts from: network, data, recipe, objective, device."""
    texts, tensors = data.fingerprint()
    facts = [__version__, repr(model), str(section.model.train), str(section.objective), device, *texts]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for tensor in (*model.state_dict().values(), *tensors):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """``$RANK_SEARCH_CACHE``, or ``rank-search`` in the user's cache folder."""
    given = os.environ.get("RANK_SEARCH_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rank-search"


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


def _with_weights(section: TaskConfig, path: Path) -> nn.Module:
    model = load_model(section.model.name, **section.model.options)
    load_weights(model, path)
    return model.eval()


def _task(config: Config, section: TaskConfig, model: nn.Module, data: Data, folder: Path) -> Task:
    space = _space(section, model, data, folder)
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
        space = _space(section, model, data, folder, metric)
        refined(space, model, [Budget(**bounds) for bounds in config.budgets])
    metric.table.write(folder / LATENCIES)


def counts_latency(section: TaskConfig) -> bool:
    """Whether the task's space counts a time."""
    return LATENCY in section.space.metrics


def aligned(section: TaskConfig) -> bool | int:
    """What the target says of ranks that its machine likes."""
    wanted = "none" if section.target is None else section.target.align
    return wanted if isinstance(wanted, int) else wanted == "auto"


def target_latency(section: TaskConfig, table: Path | None = None) -> Latency:
    """The time that a task counts: of its target; with the table of a run folder, which is only read.

    Raises:
        EngineError: if the engine is not installed, or the table is of another set-up.
    """
    target = section.target or TargetConfig()
    named = target.engine if isinstance(target.engine, dict) else {target.engine: None}
    ((name, options),) = named.items()
    if "threads" in (options or {}):
        raise ConfigError(f"target.engine.{name} has threads of its own: give target.threads alone")
    engine = make_engine({name: {"threads": target.threads, **(options or {})}})
    if table is None:
        return Latency(engine, target.batch)
    fingerprint = Latency(engine, target.batch).fingerprint()
    return Latency(engine, target.batch, LatencyTable.read(table, fingerprint), measures=False)


def untrained_space(section: TaskConfig) -> RankSpace:
    """The rank space of a task without its weights, nothing pruned: layers, options and costs do not depend on them."""
    if section.recorded is not None:
        return task_of_recording(read_recording(section.recorded), Budget(macs=1.0)).space
    data = load_data(section.data.name, **section.data.options)
    model = load_model(section.model.name, **section.model.options)
    return bare_space(section, model, data)


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


def _space(
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
