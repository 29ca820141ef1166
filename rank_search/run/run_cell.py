"""One cell from start to end: search, the common fine-tune, then test once."""

from __future__ import annotations

import copy
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from rank_search.deploy.latency import latency_of
from rank_search.errors import RankSearchError, StorageError, told
from rank_search.files import DISK_FULL, write_json, write_text
from rank_search.isolation import isolated
from rank_search.memory import release_memory
from rank_search.records.schema import (
    CHECKPOINT_FILE,
    FINETUNE_FILE,
    LOSS_BEFORE,
    PLAN_FILE,
    RESULT_FILE,
    STAGES_FILE,
    TRACEBACK_FILE,
    kept,
    measured,
    reported,
)
from rank_search.records.steps import UNMEASURED, write_steps
from rank_search.records.trace import write_trace
from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.finalists import best_plans, finetune_best
from rank_search.run.folder import RunFolder
from rank_search.run.shared_task import left_alone, shared
from rank_search.run.stages import worth_of_stages
from rank_search.run.timed_search import over_again, search_in_time
from rank_search.searching import SearchResult, Trial, Workers, make_searcher, run_search
from rank_search.searching.search import make_evaluator
from rank_search.space import Budget, save
from rank_search.task import Limits, Task
from rank_search.task.evaluation import validate
from rank_search.task.latency import LATENCY_BATCH
from rank_search.task.objectives.choose import make_objective

NOISY = 0.25
"""How far rounds may differ before their time is doubted."""


def run_cell(
    config: Config,
    cell: Cell,
    folder: RunFolder,
    callback: Callable[[Trial], None] = lambda trial: None,
    hopeless: Callable[[str], None] | None = None,
    workers: Workers | None = None,
    kept_some: Callable[[], None] = lambda: None,
    stages: bool = False,
) -> dict[str, Any]:
    """Runs a cell, or goes on from its checkpoint; leaves its folder complete.

    Args:
        config, cell, folder: what to run and where.
        callback: hears of every trial.
        hopeless: of the search's meter (see :class:`Meter`).
        workers: who evaluates the plans of the search; this process if None.
        kept_some: called when the fine-tune has written a checkpoint.
        stages: write down what each stage was worth, too.

    Returns:
        The cell's row of ``results.csv``; ``status`` is ``failed`` with a ``reason`` if its searcher or network failed,
        and the traceback is in its folder. A cell that is ``done`` has a reason if its method gave up early.

    Raises:
        StorageError: if the results cannot be written: that is no cell's own fault.
    """
    place = folder.cell(cell)
    (place / TRACEBACK_FILE).unlink(missing_ok=True)
    row = names_of(config, cell)
    try:
        with isolated(cell.seed):
            row |= {"status": "done", **_run(config, cell, folder, callback, hopeless, workers, kept_some, stages)}
    except (StorageError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the user's searcher, network or plug-in, out of memory: the other cells go on
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise StorageError(f"{error}; free some space, then go on with --resume") from error
        reason = " ".join(str(error).split()) if isinstance(error, RankSearchError) else told(error)
        return fail(folder, cell, row, reason, "".join(traceback.format_exception(error)))
    finally:
        release_memory()
    write_json(place / RESULT_FILE, row)
    for file in place.glob(f"{FINETUNE_FILE}*"):
        file.unlink(missing_ok=True)
    return row


def names_of(config: Config, cell: Cell) -> dict[str, Any]:
    """What a row says of its cell whatever comes of it."""
    return {
        "cell": cell.id,
        "task": cell.task,
        "budget": str(cell.budget),
        "searcher": cell.searcher.title,
        "seed": cell.seed,
        **reported(make_objective(config.tasks[cell.task].objective)),
    }


def fail(folder: RunFolder, cell: Cell, row: Mapping[str, Any], reason: str, details: str) -> dict[str, Any]:
    """Writes down that a cell has failed: its row, and the traceback beside it.

    Args:
        folder, cell: where.
        row: its :func:`names_of`.
        reason: one line.
        details: any text.
    """
    failed = {**row, "status": "failed", "reason": reason}
    write_text(folder.cell(cell) / TRACEBACK_FILE, f"{cell.id}\n{reason}\n\n{details}")
    write_json(folder.cell(cell) / RESULT_FILE, failed)
    return failed


def _run(
    config: Config,
    cell: Cell,
    folder: RunFolder,
    callback: Callable[[Trial], None],
    hopeless: Callable[[str], None] | None,
    workers: Workers | None,
    kept_some: Callable[[], None],
    stages: bool,
) -> dict[str, Any]:
    prepared, place = shared(config, cell, folder), folder.cell(cell)
    base, dense = prepared.task, prepared.dense

    def searched(budget: Budget) -> SearchResult:
        searching = base.under(budget, cell.seed, _limits(config, cell, base))
        searching.meter.hopeless = hopeless
        with left_alone(config, cell, folder):
            searcher = make_searcher(searching, cell.searcher.name, cell.seed, **copy.deepcopy(cell.searcher.options))
            evaluator = make_evaluator(searching, searcher, workers, cell.searcher.fidelity)
            return run_search(searcher, place / CHECKPOINT_FILE, callback, cell.searcher.parallel, evaluator)

    result, timed = search_in_time(base, cell.budget, searched, cell.searcher.top_k, place)
    write_steps(place, result.trials, dense["cost"], [*dense["validation"]])
    write_trace(place, result.trials)

    common = base.under(cell.budget, cell.seed)
    started = time.perf_counter()
    epochs, file = _epochs_each(config, cell, common, result), place / FINETUNE_FILE
    keeps_better = config.tasks[cell.task].keep_better
    best = finetune_best(common, result, cell.searcher.top_k, epochs, file, kept_some, keeps_better)
    finetune_seconds = time.perf_counter() - started
    test = None
    if prepared.test is not None:
        assert common.data is not None
        test = validate(best.network, common.data, prepared.test, common.objective, common.model).measures
    cost = common.admit(best.plan)
    if stages and common.data is not None:
        write_json(place / STAGES_FILE, worth_of_stages(common, best, result.trained))
    save(best.network, place)
    write_text(place / PLAN_FILE, best.plan.to_json())  # the same plan, with its dense layers spelled out
    times, noise = _timed(common, best.network)
    timed += over_again(cell.budget, times)
    return {
        "reason": result.gave_up,
        "remarks": "; ".join([*result.remarks, *timed, *noise]) or None,
        **kept(cost, dense["cost"]),
        **times,
        **_measured(best.before.measures, best.after.measures, test, dense["validation"], dense["test"]),
        LOSS_BEFORE: _finite(best.before.measures["loss"]),
        "weight_error": common.weight_error(best.plan),
        "score": best.score,
        "lower_bound": result.lower_bound,
        **_spent(result),
        "finetune_samples": common.meter.samples_trained,
        "finetune_seconds": round(finetune_seconds, 3),
    }


def _timed(task: Task, network: nn.Module) -> tuple[dict[str, Any], list[str]]:
    """The time of the network and of the dense one: of a run where they are deployed, with a remark if the machine is
    too noisy for it; else of a sample in eager PyTorch."""
    metric = latency_of(task.space)
    if metric is None:
        found, samples = task.timings([network, task.model]), LATENCY_BATCH
        what = f"a sample in a batch of {LATENCY_BATCH} in eager"
    else:
        found, samples = metric.time_in_turn([network, task.model], task.space.sample), 1
        what = f"a run of {metric.batch} in {metric.engine.name}"
    own, dense = (1000 * timing.least / samples for timing in found)
    noise = max(timing.noise for timing in found)
    remarks = [f"times are noisy: rounds differ by {noise:.0%}"] if metric is not None and noise > NOISY else []
    return {"latency_ms": round(own, 4), "dense_latency_ms": round(dense, 4), "timed": what}, remarks


def _measured(*sets: Mapping[str, float] | None) -> dict[str, float | None]:
    """The columns of every measure but the loss: of all sets, None where there is none or the number is not finite."""
    assert sets[0] is not None
    row: dict[str, float | None] = {}
    for measure in sets[0]:
        if measure not in UNMEASURED:
            values = [None if found is None else _finite(found[measure]) for found in sets]
            row |= dict(zip(measured(measure), values, strict=True))
    return row


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _spent(result: SearchResult) -> dict[str, Any]:
    meter = result.meter
    counts = {key: meter[key] for key in ("evaluations", "samples_forward", "samples_trained", "decompositions")}
    seconds = {"search_seconds": meter["wall_seconds"], "search_cpu_seconds": meter["cpu_seconds"]}
    return {**counts, **{key: round(value, 3) for key, value in seconds.items()}}


def _limits(config: Config, cell: Cell, task: Task) -> Limits:
    """Those of the config; with equal training a search may train no longer than the others' fine-tune."""
    limits = config.limits
    if not config.tasks[cell.task].equal_training or task.data is None:
        return limits
    most = max(1, task.recipe.epochs * len(task.data.train))
    return replace(limits, samples_trained=min(most, limits.samples_trained or most))


def _epochs_each(config: Config, cell: Cell, task: Task, result: SearchResult) -> int:
    """Epochs of each fine-tune: with equal training they share those that the search has not trained for."""
    epochs = task.recipe.epochs
    if not config.tasks[cell.task].equal_training or task.data is None:
        return epochs
    left = max(0, epochs - math.ceil(result.meter["samples_trained"] / len(task.data.train)))
    return left // len(best_plans(result, cell.searcher.top_k))
