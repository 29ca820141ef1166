"""A network of 215 parameters on images of 6 x 6, with all its plans, their costs and errors worked out by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.space import DENSE, Budget, Choice, RankPlan, RankSpace
from rank_search.task import ImageData, ImageSet, Recipe, Task

TRAIN, VALIDATION, TEST = 41, 30, 20
PARAMS = 36 + 8 + 144 + 4 + 8 + 12 + 3
MACS = 36 * 36 + 9 * 144 + 12
SHORT = Recipe(epochs=2, lr=0.05, batch_size=16)


class TinyNet(nn.Module):
    """Two convolutions, the second of stride 2, and a classifier; 1 x 6 x 6 images to 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second, self.norm2 = nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.norm1(self.first(images)))
        features = F.relu(self.norm2(self.second(features)))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


def tiny_net(seed: int = 0) -> TinyNet:
    """Random weights, and norms that have seen a batch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = TinyNet().train()
        with torch.no_grad():
            for norm in (net.norm1, net.norm2):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.3)
            net(torch.randn(64, 1, 6, 6))
            net.head.weight.mul_(4)
    return net.eval()


def tiny_data() -> ImageData:
    """Three classes by the brightest third of the rows; the test images are of one grey that no other image has."""
    rng = np.random.default_rng(0)

    def images(count: int) -> ImageSet:
        labels = rng.integers(0, 3, count)
        pixels = rng.integers(0, 120, (count, 6, 6, 1))
        for image, label in zip(pixels, labels, strict=True):
            image[2 * label : 2 * label + 2] += 80
        return ImageSet.from_arrays(pixels.astype(np.uint8), labels)

    test = ImageSet.from_arrays(np.full((TEST, 6, 6, 1), 201, np.uint8), np.zeros(TEST, np.int64))
    return ImageData(images(TRAIN), images(VALIDATION), test, mean=(0.35,), std=(0.2,))


def tiny_task(
    budget: Budget | None = None,
    forms: Iterable[str] = ("tucker2", "svd"),
    data: bool = True,
    net: nn.Module | None = None,
    **options: Any,
) -> Task:
    net = net or tiny_net()
    space = RankSpace.from_model(net, torch.zeros(1, 1, 6, 6), forms=forms)
    samples = options.get("recalibration_samples", 20)
    options = {
        "recipe": SHORT,
        "repair": "recalibrate",
        "repair_inputs": samples,
        "recalibration_samples": samples,
    } | options
    return Task(net, space, budget or Budget(macs=0.7), tiny_data() if data else None, **options)


def all_plans() -> Iterator[tuple[RankPlan, dict[str, int]]]:
    """Every plan of the forms tucker2 and svd with its cost, by the closed forms, without the package's tables."""
    first = _tucker2(1, 4, inside=36, outside=36)
    second = _tucker2(4, 4, inside=36, outside=9)
    head = [(DENSE, 12, 12), (Choice("svd", (1,)), 7, 7)]
    for one, two, three in itertools.product(first, second, head):
        plan = RankPlan({"first": one[0], "second": two[0], "head": three[0]})
        params = 8 + 4 + 8 + 3 + one[1] + two[1] + three[1]
        yield plan, {"params": params, "macs": one[2] + two[2] + three[2]}


def _tucker2(into: int, out: int, inside: int, outside: int) -> list[tuple[Choice, int, int]]:
    """Choices of a 3 x 3 convolution on so many input and output pixels that cost less than dense on some metric."""
    dense = 9 * into * out
    found = [(DENSE, dense, outside * dense)]
    for r1, r2 in itertools.product(range(1, out + 1), range(1, into + 1)):
        params = into * r2 + 9 * r1 * r2 + r1 * out
        macs = inside * into * r2 + outside * (9 * r1 * r2 + r1 * out)
        if r1 <= 9 * r2 and r2 <= 9 * r1 and (params < dense or macs < outside * dense):
            found.append((Choice("tucker2", (r1, r2)), params, macs))
    return found


def squared_error(net: nn.Module, layer: str, choice: Choice) -> float:
    """``||W - What||^2`` of a dense, tucker2 or svd choice by projections onto singular vectors, in float64."""
    weight = net.get_submodule(layer).weight
    assert isinstance(weight, Tensor)
    weight = weight.detach().double()
    if choice == DENSE:
        return 0.0
    if choice.form == "svd":
        return float(torch.linalg.svdvals(weight.flatten(1))[choice.ranks[0] :].square().sum())
    left = [torch.linalg.svd(weight.transpose(0, mode).flatten(1), full_matrices=False)[0] for mode in (0, 1)]
    out, into = (basis[:, :rank] @ basis[:, :rank].T for basis, rank in zip(left, choice.ranks, strict=True))
    return float((weight - torch.einsum("oa,abhw,bi->oihw", out, weight, into)).square().sum())


def energy(net: nn.Module, layer: str) -> float:
    """``||W||^2``."""
    weight = net.get_submodule(layer).weight
    assert isinstance(weight, Tensor)
    return float(weight.detach().double().square().sum())
