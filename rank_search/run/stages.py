"""What each stage between the dense network and the answer was worth."""

from __future__ import annotations

from typing import Any

from torch import nn

from rank_search.errors import EvaluationError
from rank_search.run.finalists import Finalist
from rank_search.task import Task
from rank_search.task.evaluation import Evaluation, validate


def worth_of_stages(task: Task, best: Finalist, trained: nn.Module | None) -> dict[str, Any]:
    """The measures on the whole validation set after the cut, each repair and the fine-tune; nothing is charged.

    Args:
        task: that the answer is of.
        best: the answer.
        trained: what the search left, where the fine-tune began; the plan's own network had no cut.

    Returns:
        ``samples``: how many were judged; ``stages``: a list of ``stage`` and its ``measures``, None where outputs are
        not finite, with ``kept`` false for a fine-tune that made things worse and was not kept; ``layers``: what the
        refit made of each layer (see :class:`Mended`).
    """
    found: list[dict[str, Any]] = []
    network = task.cut(best.plan, trained)
    if network is not None:
        found.append(_stage("cut", _measured(task, network)))
        repair = task.final_repair
        if repair.changes(best.plan) and repair.kind == "refit" and repair.has_norms:
            repair.of_kind("recalibrate").apply(network, best.plan, trained)
            found.append(_stage("recalibrated", _measured(task, network)))
        if repair.changes(best.plan):
            found.append(_stage({"recalibrate": "recalibrated", "refit": "refitted"}[repair.kind], best.before))
    if best.refused is not None:
        found.append(_stage("fine-tuned", best.refused) | {"kept": False})
    elif best.after.measures != best.before.measures:
        found.append(_stage("fine-tuned", best.after))
    layers = {name: {"before": one.before, "after": one.after, "left": one.left} for name, one in best.mended.items()}
    assert task.data is not None
    return {"samples": len(task.data.validation), "stages": found, "layers": layers}


def _stage(name: str, evaluation: Evaluation | None) -> dict[str, Any]:
    return {"stage": name, "measures": None if evaluation is None else dict(evaluation.measures)}


def _measured(task: Task, network: nn.Module) -> Evaluation | None:
    assert task.data is not None
    try:
        return validate(network, task.data, task.data.validation, task.objective, task.model)
    except EvaluationError:
        return None
