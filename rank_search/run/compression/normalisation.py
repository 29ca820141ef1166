"""Whether images reach a network as those did that it was trained on, by what its first batch norm remembers.

A wrong mean or scale costs accuracy without a word, and without labels nothing else tells: the compressed network
agrees with a dense one that sees the wrong images, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rank_search.running import evaluating, observed
from rank_search.task.repair.recalibration import BatchNorm

MISFIT, CLEARLY = 0.2, 3.0
"""Below the first one fits, and nothing is said; another is named if it fits, and so many times better.

The pretrained ResNet-20 and -32: .05 and .05 with ImageNet's values, .07 with CIFAR's, .38 with 0.5, .73 and .70
without normalisation.
"""


class Normalisation(NamedTuple):
    """Of images scaled to ``[0, 1]``: ``(image - mean) / std`` per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


KNOWN = {
    "ImageNet's": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's": Normalisation((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "values from -1 to 1": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "values from 0 to 1": Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "values from 0 to 255": Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
"""What networks of three colours are commonly trained with."""


class _Reached(Exception):
    """The first batch norm has its input."""


def misfit(model: nn.Module, inputs: Tensor) -> float | None:
    """How far the input of the first batch norm that runs is from what it remembers of its training.

    Mean over channels of ``((m - running_mean)^2 + (s - sqrt(running_var))^2) / running_var``, m and s the mean and
    the standard deviation of the input: the squared 2-Wasserstein distance of two normal distributions, in units of the
    one remembered.

    Args:
        model: the network.
        inputs: a batch.

    Returns:
        0 for the same distribution; None if the network has no batch norm, or none that was trained.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, BatchNorm)}
    found: list[tuple[Any, Tensor]] = []

    def look(name: str, given: Tensor) -> None:
        found.append((norms[name], given))
        raise _Reached

    try:
        with evaluating(model), observed(norms, before=look):
            model(inputs)
    except _Reached:
        pass
    if not found:
        return None
    norm, values = found[0]
    if norm.running_mean is None or norm.running_var is None or _is_new(norm):
        return None
    axes = [0, *range(2, values.ndim)]
    mean, deviation = values.mean(axes), values.std(axes, correction=0)
    apart = (mean - norm.running_mean) ** 2 + (deviation - norm.running_var.sqrt()) ** 2
    return float((apart / (norm.running_var + norm.eps)).mean())


def _is_new(norm: Any) -> bool:
    """Whether it is as it was made; files of weights need not hold how many batches it has seen."""
    return bool((norm.running_mean == 0).all() and (norm.running_var == 1).all())


def better_normalisation(model: nn.Module, images: Tensor, given: Normalisation) -> str | None:
    """The name of a normalisation in :data:`KNOWN` that fits the network clearly better than the one given.

    Args:
        model: the network.
        images: ``[B, 3, H, W]`` in ``[0, 1]``.
        given: what would be used.

    Returns:
        None if the given one fits, or none fits better, or nothing can be told.
    """

    def of(one: Normalisation) -> float | None:
        mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in one)
        return misfit(model, (images - mean) / std)

    now = of(given)
    if now is None or not now > MISFIT:
        return None
    fits = {name: fit for name, one in KNOWN.items() if (fit := of(one)) is not None}
    best = min(fits, key=lambda name: fits[name])
    return best if fits[best] < min(MISFIT, now / CLEARLY) else None
