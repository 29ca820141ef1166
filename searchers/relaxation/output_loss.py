"""The error of the whole network's outputs under mixed weights: a loss that is no sum over layers (ours).

    L(p) = || f(x; W_mix(p)) - f(x; W) ||^2 / || f(x; W) - mean ||^2      over a batch of unlabelled inputs

with the logits f of the dense network. Batch norms use the batch's statistics on both sides, as if recalibrated.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from rank_search.arrays import FloatArray
from rank_search.errors import EvaluationError
from rank_search.running import device_of
from rank_search.space import RankPlan
from rank_search.space.forms.factor_modules import weight_for
from rank_search.task import Task
from rank_search.task.batch_stream import BatchStream
from rank_search.task.repair.recalibration import BatchNorm

from .mixed_weight import MixedWeight
from .nested_mixture import LayerMixture

SCORED = 256
"""Images that plans are scored on."""


class OutputLoss:
    """The loss and its gradient in p, on the task's metered training batches, without their labels.

    Args:
        task: with data; its space measures errors of the weights.
        mixtures: of the layers.
        batch_size: images of a gradient.
        seed: of the batches.

    Attributes:
        stream: where batches come from.
        value: the loss of the last gradient.

    Raises:
        InvalidInputError: if a layer has too many options that are not nested, or the space has another metric.
    """

    def __init__(self, task: Task, mixtures: Sequence[LayerMixture], batch_size: int, seed: int) -> None:
        assert task.data is not None
        self.stream = BatchStream(task, batch_size, seed)
        self.value = 0.0
        self._task, self._device = task, device_of(task.model)
        self._model = copy.deepcopy(task.model).eval().requires_grad_(False)
        for module in self._model.modules():
            if isinstance(module, BatchNorm):
                module.train()
        self._layers = [
            MixedWeight(options, mixture, self._device)
            for options, mixture in zip(task.space.layers, mixtures, strict=True)
        ]
        images = next(task.data.batches(task.data.train.subset(SCORED, seed=0), SCORED))[0]
        self._scored = images.to(self._device)

    def gradient(self, probabilities: Sequence[FloatArray]) -> list[FloatArray]:
        """dL/dp of every layer on the next batch.

        Raises:
            LimitReached: if the batch would pass a limit of the task.
            EvaluationError: if it is not finite.
        """
        inputs = self.stream.next()[0]
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
        self._task.meter.charge(samples_forward=2 * len(self._scored))
        rows = self._task.space.indices(plan)
        with torch.no_grad():
            weights = [layer.single(int(row)) for layer, row in zip(self._layers, rows, strict=True)]
            value = float(self._loss(self._scored, weights))
        if not math.isfinite(value):
            raise EvaluationError(f"the error of the outputs of a plan is {value}")
        return value

    def _loss(self, inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
        replaced = {}
        for layer, weight in zip(self._layers, weights, strict=True):
            module = self._model.get_submodule(layer.name)
            assert isinstance(module.weight, Tensor)
            replaced[f"{layer.name}.weight"] = weight_for(module, weight).to(module.weight.dtype)
        with torch.no_grad():
            wanted = self._model(inputs)
        found = functional_call(self._model, replaced, (inputs,))
        spread: Tensor = (wanted - wanted.mean(0)).square().sum().clamp_min(1e-12)
        loss: Tensor = (found - wanted).square().sum() / spread
        return loss
