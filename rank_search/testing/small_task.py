"""A small convolutional network with random weights on random images: nothing is learnt, all is exact and fast."""

from __future__ import annotations

import copy
import math
from functools import cache

import torch
from torch import nn

from rank_search.errors import EvaluationError
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.task import Evaluation, ImageData, ImageSet, Recipe, Task

IMAGE = (3, 8, 8)


class SmallNet(nn.Module):
    """Three convolutions (one with stride 2) and a classifier.

    Args:
        width: channels of the first convolution.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.linear = nn.Linear(2 * width, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.bn1(self.conv1(images)))
        features = torch.relu(self.conv3(torch.relu(self.conv2(features))))
        logits: torch.Tensor = self.linear(features.mean((2, 3)))
        return logits


class CountingTask(Task):
    """Remembers the plans that were judged."""

    judged: list[RankPlan]

    def judge(self, plan: RankPlan) -> Evaluation:
        evaluation = super().judge(plan)
        self.judged.append(plan)
        return evaluation


class FailingTask(CountingTask):
    """Every second evaluation fails."""

    def judge(self, plan: RankPlan) -> Evaluation:
        evaluation = super().judge(plan)
        if len(self.judged) % 2:
            raise EvaluationError("this evaluation fails on purpose")
        return evaluation


class NanTask(CountingTask):
    """Every second evaluation says NaN."""

    def judge(self, plan: RankPlan) -> Evaluation:
        evaluation = super().judge(plan)
        return Evaluation(math.nan, {}, evaluation.samples) if len(self.judged) % 2 else evaluation


def small_task(kind: type[Task] = CountingTask, tiny: bool = False) -> Task:
    """A task with random weights and images: forms tucker2, cp and svd, or a space of a few dozen plans if ``tiny``."""
    model, space = _network(tiny)
    generator = torch.Generator().manual_seed(0)
    train, validation = (
        ImageSet(
            torch.randint(0, 256, (count, *IMAGE), dtype=torch.uint8, generator=generator),
            torch.arange(count) % 4,
        )
        for count in (48, 32)
    )
    data = ImageData(train, validation, None, (0.5,) * 3, (0.25,) * 3)
    recipe = Recipe(epochs=1, batch_size=16)
    task = kind(copy.deepcopy(model), space, Budget(macs=0.95), data, recipe, recalibration_samples=16)
    if isinstance(task, CountingTask):
        task.judged = []
    return task


@cache
def _network(tiny: bool) -> tuple[nn.Module, RankSpace]:
    """The network and its space, whose decompositions all tasks share."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallNet().eval()
    example = torch.zeros(1, *IMAGE)
    if tiny:
        return model, RankSpace.from_model(model, example, ["tucker2", "svd"], include=["conv1", "linear"])
    return model, RankSpace.from_model(model, example, ["tucker2", "cp", "svd"])
