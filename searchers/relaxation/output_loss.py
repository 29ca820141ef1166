"""The error of the whole network's outputs under mixed weights: a loss that is no sum over layers (ours).

    L(p) = || f(x; W_mix(p)) - f(x; W) ||^2 / || f(x; W) - mean ||^2      over a batch of unlabelled inputs

with the outputs f of the dense network (the tensor that the objective looks at). Batch norms use the batch's statistics
on both sides, as if recalibrated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rank_search.arrays import FloatArray
from rank_search.errors import EvaluationError
from rank_search.nests import Nest, check_nest
from rank_search.space import RankPlan
from rank_search.task import Oracles
from rank_search.task.batch_stream import BatchStream

from .mixed_weight import MixedWeight
from .nested_mixture import LayerMixture

SCORED = 256
"""Samples that plans are scored on."""


class OutputLoss:
    """The loss and its gradient in p, on the task's metered training batches, without their labels.

    Args:
        task: with data; its space measures errors of the weights.
        mixtures: of the layers.
        batch_size: samples of a gradient.
        seed: of the batches.

    Attributes:
        stream: where batches come from.
        value: the loss of the last gradient.

    Raises:
        InvalidInputError: if a layer has too many options that are not nested, or the space has another metric.
    """

    def __init__(self, task: Oracles, mixtures: Sequence[LayerMixture], batch_size: int, seed: int) -> None:
        self.stream = BatchStream(task, batch_size, seed)
        self.value = 0.0
        self._task, self._device = task, task.device
        self._layers = [
            MixedWeight(options, mixture, self._device)
            for options, mixture in zip(task.space.layers, mixtures, strict=True)
        ]
        self._scored = task.fixed_inputs(SCORED)

    def gradient(self, probabilities: Sequence[FloatArray]) -> list[FloatArray]:
        """dL/dp of every layer on the next batch.

        Raises:
            LimitReached: if the batch would pass a limit of the task.
            EvaluationError: if it is not finite.
        """
        inputs = self.stream.next().inputs
        leaves = [torch.tensor(p, dtype=torch.float32, device=self._device, requires_grad=True) for p in probabilities]
        loss = self._loss(inputs, [layer.mixed(p) for layer, p in zip(self._layers, leaves, strict=True)])
        gradients = torch.autograd.grad(loss, leaves)
        if not all(value.isfinite().all() for value in (loss, *gradients)):
            raise EvaluationError(
                f"the error of the outputs became {float(loss.detach())} at batch {self.stream.drawn}"
            )
        self.value = float(loss.detach())
        return [gradient.double().cpu().numpy() for gradient in gradients]

    def of_plan(self, plan: RankPlan) -> float:
        """The loss of a plan on a fixed batch.

        Raises:
            LimitReached: if it would pass a limit of the task.
            EvaluationError: if it is not finite.
        """
        self._task.charge(samples_forward=2 * check_nest(self._scored, "the fixed inputs"))
        rows = self._task.space.indices(plan)
        with torch.no_grad():
            weights = [layer.single(int(row)) for layer, row in zip(self._layers, rows, strict=True)]
            value = float(self._loss(self._scored, weights))
        if not math.isfinite(value):
            raise EvaluationError(f"the error of the outputs of a plan is {value}")
        return value

    def _loss(self, inputs: Nest, weights: Sequence[Tensor]) -> Tensor:
        predictions = self._task.objective.predictions
        with torch.no_grad():
            wanted = predictions(self._task.outputs_with({}, inputs, batch_statistics=True))
        replaced = {layer.name: weight for layer, weight in zip(self._layers, weights, strict=True)}
        found = predictions(self._task.outputs_with(replaced, inputs, batch_statistics=True))
        spread: Tensor = (wanted - wanted.mean(0)).square().sum().clamp_min(1e-12)
        loss: Tensor = (found - wanted).square().sum() / spread
        return loss
