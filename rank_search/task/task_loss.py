"""What a network is trained for: the objective's loss, and the distance to the dense network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rank_search.nests import call
from rank_search.running import evaluating
from rank_search.task.batch import Batch
from rank_search.task.distillation import run_beside, weight_error
from rank_search.task.mixup import Mixed
from rank_search.task.objectives.objective import Objective
from rank_search.task.recipe import Recipe


def task_loss(
    model: nn.Module,
    teacher: nn.Module | None,
    batch: Batch,
    recipe: Recipe,
    objective: Objective,
    mixed: Mixed | None = None,
) -> Tensor:
    """The objective's loss, and the distillation term where there is a teacher.

    With w the ``distill_weight`` and O, D the outputs of a replaced layer in the network and in the teacher:

    - ``logits``: ``(1 - w) loss + w distance`` of the networks' outputs; of classes the distance is
      ``t^2 KL(teacher || network)`` of the softmax at temperature t (Hinton et al., 2015).
    - ``layers``: ``loss + w mean_l mean (O_l - D_l)^2``, the inner mean over all elements of a call, not divided by the
      scale of D; every call of a layer counts as a layer. The outputs are those of arXiv 2409.03555, the means ours:
      the term depends neither on the batch nor on how many layers there are, or how large.
    - ``layers`` with ``layer_sum``: ``loss + 0.5 (sum_l ||W_l - What_l||^2 + sum_l ||O_l - D_l||^2)``, as that paper
      has it; What is what the factors multiply out to. That the second sum is averaged over the batch is a
      RECONSTRUCTION.

    A network without replaced layers has no layer term. Of a batch of sums (``mixed``) the loss is that of
    both targets.
    """
    if teacher is None or recipe.distill_weight == 0:
        return _loss(objective, call(model, batch.inputs), batch, mixed)
    if recipe.distill == "layers":
        return _with_layers(model, teacher, batch, recipe, objective, mixed)
    outputs = call(model, batch.inputs)
    loss = _loss(objective, outputs, batch, mixed)
    wanted = batch.targets
    if not objective.by_dense:  # whose targets are the teacher's outputs
        with evaluating(teacher):
            wanted = call(teacher, batch.inputs)
    soft = objective.distance(outputs, wanted, recipe.temperature)
    return (1 - recipe.distill_weight) * loss + recipe.distill_weight * soft


def _loss(objective: Objective, outputs: Any, batch: Batch, mixed: Mixed | None) -> Tensor:
    """The objective's; of sums of two samples that of both targets, in their shares."""
    if mixed is None or mixed.others is None:
        return objective.loss(outputs, batch)
    return mixed.share * objective.loss(outputs, batch) + (1 - mixed.share) * objective.loss(outputs, mixed.others)


def _with_layers(
    model: nn.Module, teacher: nn.Module, batch: Batch, recipe: Recipe, objective: Objective, mixed: Mixed | None
) -> Tensor:
    found, differences = run_beside(model, teacher, batch.inputs)
    loss = _loss(objective, found, batch, mixed)
    if recipe.layer_sum:
        outputs = sum(difference.square().sum() for difference in differences) / batch.samples
        return loss + 0.5 * (weight_error(model, teacher) + outputs)
    if not differences:
        return loss
    return loss + recipe.distill_weight * torch.stack([part.square().mean() for part in differences]).mean()
