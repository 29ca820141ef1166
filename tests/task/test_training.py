"""A training in pieces: bit for bit the training in one piece, through files, with whatever is drawn in between."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_task import TRAIN, TinyNet, tiny_data, tiny_net
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.space import Choice, RankPlan, compress
from rank_search.states import load_state, save_state
from rank_search.task import ImageData, Recipe
from rank_search.task.training import Training

pytestmark = pytest.mark.usefixtures("single_thread")

LONG = Recipe(epochs=5, lr=0.05, batch_size=16, warmup=0.3)
PIECES = [(5,), (1, 4), (1, 1, 1, 1, 1), (2, 0, 9)]
CP = RankPlan({"first": Choice("tucker2", (2, 1)), "second": Choice("cp", (3,)), "head": Choice("svd", (1,))})


class Tied(nn.Module):
    """Two linear layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(36, 36), nn.Linear(36, 36), nn.Linear(36, 3)
        self.second.weight = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(F.relu(self.first(images.flatten(1)))))
        return logits


class Counting(nn.Module):
    """A running mean of its inputs in a buffer, subtracted from them; saved with the network or not."""

    mean: Tensor

    def __init__(self, persistent: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 6, 6), persistent=persistent)
        self.net = tiny_net()

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.mean.lerp_(images.mean(0), 0.1)
        logits: Tensor = self.net(images - self.mean)
        return logits


def tied() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Tied()


def frozen_in_part() -> nn.Module:
    net = tiny_net()
    net.first.requires_grad_(False)
    net.norm2.weight.requires_grad_(False)
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": tiny_net,
    "compressed": lambda: compress(tiny_net(), CP),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.2), tiny_net(), nn.Dropout(0.4)),
    "tied": tied,
    "frozen in part": frozen_in_part,
    "buffer": lambda: Counting(persistent=True),
}
RECIPES = {
    "long": LONG,
    "no momentum": dataclasses.replace(LONG, momentum=0.0),
    "layers": dataclasses.replace(LONG, distill="layers", distill_weight=0.5),
    "one left over": dataclasses.replace(LONG, batch_size=10),
}


def augmented() -> ImageData:
    return dataclasses.replace(tiny_data(), crop=1, flip=True)


def training(net: nn.Module, recipe: Recipe = LONG, **options: Any) -> Training:
    return Training(net, augmented(), recipe, **{"seed": 4, "teacher": tiny_net(3), **options})


def bits(net: nn.Module) -> dict[str, bytes]:
    """Every parameter and every buffer."""
    named = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach().numpy().tobytes() for name, tensor in named}


def disturb() -> None:
    """Random draws of the caller."""
    torch.randn(7)
    np.random.random(3)
    random.random()


def in_pieces(
    make: Callable[[], nn.Module], recipe: Recipe, pieces: Sequence[int], file: Path | None, **options: Any
) -> Training:
    """Trained piece by piece; with a file every piece in a training of its own, of a fresh network."""
    found = training(make(), recipe, **options)
    for epochs in pieces:
        if file is not None:
            save_state(file, found.state_dict())
            disturb()
            found = training(make(), recipe, **options)
            found.load_state_dict(load_state(file))
        disturb()
        found.run(epochs)
    return found


# -- the same bits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through_files", [False, True], ids=["in memory", "through files"])
@pytest.mark.parametrize("network", NETWORKS)
def test_any_pieces_give_the_bits_of_one(network: str, through_files: bool, tmp_path: Path) -> None:
    make = NETWORKS[network]
    whole = training(make())
    whole.run(5)
    for pieces in PIECES:
        found = in_pieces(make, LONG, pieces, tmp_path / "state" if through_files else None)
        assert bits(found.model) == bits(whole.model), pieces
        assert (found.epochs, found.samples, found.done) == (5, 5 * TRAIN, True)
    assert bits(whole.model) != bits(make())


@pytest.mark.parametrize("recipe", RECIPES)
def test_under_any_recipe(recipe: str, tmp_path: Path) -> None:
    def make() -> nn.Module:
        return compress(tiny_net(), CP)

    whole = training(make(), RECIPES[recipe])
    whole.run(5)
    for pieces in ((2, 3), (1, 1, 1, 1, 1)):
        assert bits(in_pieces(make, RECIPES[recipe], pieces, tmp_path / "state").model) == bits(whole.model)


def test_for_an_objective_by_the_dense_network_too(tmp_path: Path) -> None:
    embedding = {"objective": "embedding"}
    whole = training(tiny_net(), **embedding)
    whole.run(5)
    assert bits(in_pieces(tiny_net, LONG, (1, 3, 1), tmp_path / "state", **embedding).model) == bits(whole.model)


def test_a_buffer_that_is_not_saved_with_the_network_goes_on_too(tmp_path: Path) -> None:
    def make() -> nn.Module:
        return Counting(persistent=False)

    whole = training(make())
    whole.run(5)
    assert bits(in_pieces(make, LONG, (2, 3), None).model) == bits(whole.model)
    assert bits(in_pieces(make, LONG, (2, 3), tmp_path / "state").model) == bits(whole.model)


def test_tied_parameters_stay_one(tmp_path: Path) -> None:
    net = in_pieces(tied, LONG, (2, 3), tmp_path / "state").model
    assert isinstance(net, Tied)
    assert net.first.weight is net.second.weight


def test_a_state_is_not_changed_by_what_is_trained_after_it() -> None:
    first = training(NETWORKS["dropout"]())
    first.run(2)
    state = first.state_dict()
    first.run(3)
    other = training(NETWORKS["dropout"]())
    other.load_state_dict(state)
    other.run(3)
    assert bits(other.model) == bits(first.model)


def test_a_state_is_not_changed_by_a_training_that_goes_on_from_it() -> None:
    first = training(tiny_net())
    first.run(2)
    state = first.state_dict()
    first.run(3)
    for _ in range(2):
        other = training(tiny_net())
        other.load_state_dict(state)
        other.run(3)
        assert bits(other.model) == bits(first.model)


def test_the_momenta_are_the_ones_of_the_step_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a gradient of 0 in the second of two steps the weights move on by the momenta alone."""
    recipe = Recipe(epochs=2, lr=0.1, batch_size=64, momentum=0.5, weight_decay=0, distill_weight=0, clip=1e9, warmup=0)
    net = tiny_net()
    start = net.head.weight.detach().clone()
    once = training(net, recipe, teacher=None)
    once.run(1)
    moved = net.head.weight.detach() - start  # -lr * (g + 0.5 g): Nesterov's first step
    save_state(tmp_path / "state", once.state_dict())
    again = training(tiny_net(), recipe, teacher=None)
    again.load_state_dict(load_state(tmp_path / "state"))
    monkeypatch.setattr("rank_search.task.training.task_loss", lambda model, *rest: 0.0 * sum_of(model))
    again.run(1)
    assert isinstance(again.model, TinyNet)
    expected = start + moved * (1 + 0.25 / 1.5)  # momentum 0.5 g, Nesterov's step 0.5 * 0.5 g, at the peak rate
    torch.testing.assert_close(again.model.head.weight.detach(), expected, rtol=1e-5, atol=1e-6)


def sum_of(model: nn.Module) -> Tensor:
    return torch.stack([parameter.sum() for parameter in model.parameters()]).sum()


# -- the rates ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step of the plain parameters."""
    seen: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            seen.append(max(group["lr"] for group in self.param_groups))
            return super().step(closure)

    monkeypatch.setattr("torch.optim.SGD", Watched)
    return seen


def closed_form(recipe: Recipe, per_epoch: int) -> list[float]:
    total = recipe.epochs * per_epoch
    rising = max(1, round(total * recipe.warmup))
    up = [recipe.lr * k / rising for k in range(1, rising + 1)]
    falling = total - rising
    return up + [recipe.lr * (1 + math.cos(math.pi * k / falling)) / 2 for k in range(falling)]


@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize(
    ("warmup", "batch_size", "per_epoch"), [(0.3, 16, 3), (0.0, 16, 3), (0.1, 10, 4), (1.0, 41, 1)]
)
def test_the_rates_are_those_of_the_whole_recipe(
    rates: list[float], tmp_path: Path, pieces: tuple[int, ...], warmup: float, batch_size: int, per_epoch: int
) -> None:
    recipe = dataclasses.replace(LONG, warmup=warmup, batch_size=batch_size)
    in_pieces(tiny_net, recipe, pieces, tmp_path / "state")
    assert rates == pytest.approx(closed_form(recipe, per_epoch))
