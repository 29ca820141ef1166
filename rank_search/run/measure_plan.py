"""All that a recording says of one plan."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from rank_search.arrays import IntArray
from rank_search.errors import EvaluationError
from rank_search.space import RankPlan
from rank_search.task import Evaluation, Task
from rank_search.task.evaluation import validate
from rank_search.task.repair.repair import Repair


def measure_plan(task: Task, test: Any, rows: IntArray) -> dict[str, float | int]:
    """Builds a plan's network and validates it before and after the repair, on validation and test set.

    Args:
        task: whose evaluation set and repair are used, so that ``val_*`` is what ``task.evaluate`` says.
        test: the test set, or None.
        rows: the plan, ``[layers]``.

    Returns:
        The columns of ``plans.parquet`` but for the options: what fails or is not finite is NaN.
    """
    plan = task.space.plan(rows)
    sets = {"val": task.evaluation_set, **({} if test is None else {"test": test})}
    started = time.process_time()
    network = task.space.compress(task.model, plan).eval()
    built = time.process_time() - started
    found: dict[str, float | int] = {}
    passes: list[tuple[float, int]] = []
    for name, samples in sets.items():
        found |= _measured(task, network, samples, f"raw_{name}", passes)
    repaired = 0.0
    if task.evaluation_repair.changes(plan):
        started = time.process_time()
        task.evaluation_repair.apply(network, plan)
        repaired = time.process_time() - started
        for name, samples in sets.items():
            found |= _measured(task, network, samples, name, passes)
    else:
        found |= {column.removeprefix("raw_"): value for column, value in found.items()}
    per_sample = min(seconds / samples for seconds, samples in passes)
    return {
        **found,
        "weight_error": sum(o.relative_error(int(row)) for o, row in zip(task.space.layers, rows, strict=True)),
        **task.space.cost(plan),
        "latency_ms": 1000 * per_sample,
        "seconds": built + repaired + per_sample * len(sets["val"]),
    }


def refit_plan(task: Task, repair: Repair, test: Any, plan: RankPlan) -> dict[str, float]:
    """The measures of a plan's network on validation and test set after a repair, without any training.

    Args:
        task: whose evaluation set is used.
        repair: the correction.
        test: the test set, or None.
        plan: of the task's space.

    Returns:
        The columns of ``refitted.parquet`` but for the plan: what fails or is not finite is NaN.
    """
    sets = {"val": task.evaluation_set, **({} if test is None else {"test": test})}
    found: dict[str, float] = {}
    passes: list[tuple[float, int]] = []
    started = time.process_time()
    network = task.space.compress(task.model, plan).eval()
    try:
        repair.apply(network, plan)
    except EvaluationError:
        nothing = {f"{name}_{measure}": math.nan for name in sets for measure in _measures(task)}
        return {**nothing, "seconds": math.nan}
    spent = time.process_time() - started
    for name, samples in sets.items():
        found |= _measured(task, network, samples, name, passes)
    return {**found, "seconds": spent + passes[0][0]}


def finetune_plan(task: Task, test: Any, plan: RankPlan, seed: int) -> dict[str, float]:
    """The measures of a plan's network on validation and test set after the common fine-tune."""
    tuned = task.under(task.budget, seed).finetune(plan)
    sets = {"val": task.evaluation_set, **({} if test is None else {"test": test})}
    found: dict[str, float] = {}
    for name, samples in sets.items():
        found |= _measured(task, tuned, samples, name, [])
    return found


def _measured(
    task: Task, network: torch.nn.Module, samples: Any, prefix: str, passes: list[tuple[float, int]]
) -> Mapping[str, float]:
    assert task.data is not None
    started = time.process_time()
    try:
        evaluation = validate(network, task.data, samples, task.objective, task.model)
    except EvaluationError:
        evaluation = Evaluation(math.nan, dict.fromkeys(_measures(task), math.nan), len(samples))
    passes.append((time.process_time() - started, len(samples)))
    return {f"{prefix}_{name}": value for name, value in evaluation.measures.items()}


def _measures(task: Task) -> list[str]:
    assert task.data is not None
    return list(validate(task.model, task.data, task.evaluation_set, task.objective, task.model).measures)
