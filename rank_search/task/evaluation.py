"""Judging a network by an objective."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rank_search.errors import EvaluationError, InvalidInputError, told
from rank_search.nests import call
from rank_search.running import device_of, evaluating
from rank_search.task.batch import Batch
from rank_search.task.data.data import Data
from rank_search.task.objectives.objective import Objective, Totals, added

BATCH = 250  # larger batches are no faster on a CPU


@dataclass(frozen=True)
class Evaluation:
    """Args:
    score: the loss that methods minimise, a mean over samples.
    measures: all measures of the objective by name.
    samples: how many were judged.
    """

    score: float
    measures: Mapping[str, float]
    samples: int


def validate(
    model: nn.Module, data: Data, samples: Any, objective: Objective, dense: nn.Module | None = None
) -> Evaluation:
    """The measures of a network in eval mode on a set of samples.

    Args:
        model: dense or compressed.
        data, samples: a set of the data.
        objective: what is measured.
        dense: the dense network, which an objective ``by_dense`` compares with; None is the model itself.

    Raises:
        EvaluationError: if the network fails, or its outputs are not finite.
        InvalidInputError: if the objective does not fit the network's outputs.
    """
    model.eval()
    parts: list[Totals] = []
    try:
        with torch.inference_mode():
            for batch in with_dense(data.batches(samples, BATCH), objective, model if dense is None else dense):
                given = batch.to(device_of(model))
                parts.append(objective.totals(call(model, given.inputs), given))
    except InvalidInputError:
        raise
    except Exception as error:
        raise EvaluationError(f"the network cannot be validated: {told(error)}") from error
    measures = objective.measures(added(parts))
    if not math.isfinite(measures["loss"]):
        raise EvaluationError(f"the validation loss is {measures['loss']}: the network's outputs are not finite")
    return Evaluation(measures["loss"], measures, len(samples))


def with_dense(batches: Iterator[Batch], objective: Objective, dense: nn.Module) -> Iterator[Batch]:
    """The batches; for an objective ``by_dense`` the dense network's outputs take the place of the targets."""
    if not objective.by_dense:
        yield from batches
        return
    for batch in batches:
        given = batch.to(device_of(dense))
        with evaluating(dense):
            outputs = call(dense, given.inputs)
        yield Batch(given.inputs, outputs)
