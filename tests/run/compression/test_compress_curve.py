"""Several budgets, and folders of images, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import rank_search as rs
from rank_search.task.networks.cifar_resnet import CifarResNet

NOTHING = rs.Recipe(epochs=0)
TRAINED = rs.Recipe(epochs=1, distill_weight=1.0)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    with torch.no_grad():
        made(torch.randn(64, 3, 12, 12))
    return made.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for number in range(30):
        (tmp_path / f"photos/{number % 3}").mkdir(parents=True, exist_ok=True)
        picture = draws.integers(0, 200, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"photos/{number % 3}/{number}.png")
    return tmp_path / "photos"


def test_a_list_of_budgets_gives_what_each_gives_alone(model: nn.Module) -> None:
    inputs = torch.randn(40, 3, 12, 12)
    curve = rs.compress_model(model, inputs, ["macs=0.4:0.6:0.2", {"params": 0.5}], finetune=TRAINED)
    budgets: Sequence[Any] = ["macs=0.4", "macs=0.6", {"params": 0.5}]
    assert len(curve) == 3
    for made, budget in zip(curve, budgets, strict=True):
        alone = rs.compress_model(model, inputs, budget, finetune=TRAINED)
        assert made.plan == alone.plan
        assert made.stages == alone.stages
        with torch.no_grad():
            assert torch.equal(made.network(inputs), alone.network(inputs))
    assert [one.kept["macs"] <= most for one, most in zip(curve, (0.4, 0.6, 1.0), strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("macs=0.4:0.6:0.1", r"is 3 budgets: give \['macs=0.4:0.6:0.1'\], and a list of networks comes back"),
        ([], "the list of budgets is empty"),
        (["macs=0.4", {"macs": 0.4}], "the budget macs=0.4 stands twice"),
        (["macs=0.4", 0.5], r"the budget 0\.5 is none"),
        (["macs=0.4", "macs=0.000001"], "no plan of this space meets the budget"),
    ],
)
def test_budgets_that_are_none_are_one_line(model: nn.Module, budget: Any, said: str) -> None:
    with pytest.raises(rs.RankSearchError, match=said) as caught:
        rs.compress_model(model, torch.randn(40, 3, 12, 12), budget)
    assert "\n" not in str(caught.value)


def test_a_folder_of_images_is_data_of_the_size_of_the_example(model: nn.Module, folder: Path) -> None:
    small = rs.compress_model(model, str(folder), "macs=0.5", example=torch.zeros(1, 3, 12, 12), finetune=NOTHING)
    same = rs.load_data("images", root=folder, labels=True, size=12)
    alone = rs.compress_model(model, same, "macs=0.5", finetune=NOTHING)
    assert (small.measure, small.samples) == ("accuracy", 6)
    assert small.stages == alone.stages
    assert f"validation accuracy on 6 held-out inputs: dense {small.dense:.4f}, cut " in str(small)
    assert f"; 95 % interval of {small.stages[-1][1]:.4f}: " in str(small)


def test_the_size_is_that_of_a_family_that_is_known_and_else_asked_for(model: nn.Module, folder: Path) -> None:
    torch.manual_seed(0)
    net = CifarResNet(8).eval()
    small = rs.compress_model(net, folder, "macs=0.5", finetune=NOTHING)
    data = rs.load_data("images", root=folder, labels=False, size=32)
    assert small.measure == "agreement"
    assert small.stages == rs.compress_model(net, data, "macs=0.5", finetune=NOTHING).stages
    for options, said in (
        ({"data": folder}, r"the size of the images in \S+photos is not known: give example=torch.zeros"),
        ({"data": "nowhere", "example": torch.zeros(1, 3, 12, 12)}, "nowhere does not exist; give a folder of images"),
        ({"data": folder, "example": torch.zeros(1, 1, 12, 12)}, "does not run on such inputs"),
    ):
        with pytest.raises(rs.RankSearchError, match=said):
            rs.compress_model(model, budget="macs=0.5", **options)  # type: ignore[call-overload]
