"""Gradients of the task's loss in the weights of the space's layers, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rank_search.nests import mapped
from rank_search.task import Oracles
from rank_search.task.batch import Batch


def sample_gradients(task: Oracles, samples: int, seed: int) -> list[Tensor]:
    """Per layer of the space ``[samples, groups * Co / groups * Ci / groups * taps]``, float32.

    The dense network in evaluation mode, on training samples drawn by the seed; charged as trained samples.

    Args:
        task: its loss, its training samples (augmented as for training).
        samples: how many; at least 2 are drawn and charged, at most an epoch is used.
        seed: of their order.

    Raises:
        DataError: if there is no data.
        LimitReached: before anything would pass a limit.
    """
    model = task.dense_model().eval()
    layers = [options.layer for options in task.space.layers]
    weights = [_weight(model, layer.name) for layer in layers]
    found: list[list[Tensor]] = [[] for _ in layers]
    generator = torch.Generator().manual_seed(seed)
    batch = next(iter(task.train_batches(generator, batch_size=max(2, samples)))).to(task.device)
    for place in range(min(samples, batch.samples)):
        gradients = torch.autograd.grad(task.loss(model, _single(batch, place)), weights, allow_unused=True)
        for rows, layer, weight, gradient in zip(found, layers, weights, gradients, strict=True):
            whole = torch.zeros_like(weight) if gradient is None else gradient
            rows.append(layer.canonical(whole.detach().float().cpu()).reshape(-1))
    return [torch.stack(rows) for rows in found]


def _weight(model: nn.Module, name: str) -> Tensor:
    weight = model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight.requires_grad_()


def _single(batch: Batch, place: int) -> Batch:
    """One sample of a batch, as a batch."""

    def cut(tensor: Tensor) -> Tensor:
        return tensor[place : place + 1]

    return Batch(mapped(batch.inputs, cut), None if batch.targets is None else mapped(batch.targets, cut))
