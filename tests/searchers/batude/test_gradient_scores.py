"""The moving average of squared gate gradients: against the recurrence written out on made-up gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rank_search.searchers.batude.gated_layer import GatedLayer, gated_layers
from rank_search.searchers.batude.gradient_scores import GradientScores
from rank_search.space import Budget, RankSpace
from rank_search.states import load_state, save_state

DECAY = 0.8


class Net(nn.Module):
    """A grouped convolution and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 6, 3, groups=2)
        self.head = nn.Linear(6, 9)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(images).mean((2, 3)))
        return logits


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().double()


def layers_of(net: Net) -> list[GatedLayer]:
    space = RankSpace.from_model(net, torch.zeros(1, 8, 6, 6).double(), ["tucker2", "svd"])
    return gated_layers(space, Budget(params=0.8), None)


def some_bases(seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Orthonormal columns for both modes of the convolution and the mode of the 9 x 6 matrix, taken as 6 x 9."""
    torch.manual_seed(seed)
    shapes = {"conv": [(2, 3, 3), (2, 4, 4)], "head": [(1, 6, 6)]}
    return {
        name: tuple(torch.linalg.qr(torch.randn(*shape).double())[0] for shape in modes)
        for name, modes in shapes.items()
    }


def draw_gradients(net: Net, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)


def squares(net: Net, bases: dict[str, tuple[Tensor, ...]]) -> dict[str, list[NDArray[np.float64]]]:
    """``(p_j^T G W^T p_j)^2``, summed over groups, component by component."""
    found: dict[str, list[NDArray[np.float64]]] = {"conv": [np.zeros(3), np.zeros(4)], "head": [np.zeros(6)]}
    weight, gradient = net.conv.weight.detach(), net.conv.weight.grad
    assert gradient is not None
    for group in range(2):
        own = slice(3 * group, 3 * group + 3)
        w, g = weight[own], gradient[own]
        for mode, (one, two) in enumerate([(w.flatten(1), g.flatten(1)), (w.transpose(0, 1), g.transpose(0, 1))]):
            product = two.flatten(1) @ one.flatten(1).T
            for j, vector in enumerate(bases["conv"][mode][group].T):
                found["conv"][mode][j] += float(vector @ product @ vector) ** 2
    assert net.head.weight.grad is not None
    product = net.head.weight.grad.T @ net.head.weight.detach()
    for j, vector in enumerate(bases["head"][0][0].T):
        found["head"][0][j] = float(vector @ product @ vector) ** 2
    return found


def check(scores: GradientScores, wanted: dict[str, list[NDArray[np.float64]]]) -> None:
    assert scores.values is not None
    assert scores.values.keys() == wanted.keys()
    for name, modes in wanted.items():
        for found, mode in zip(scores.values[name], modes, strict=True):
            np.testing.assert_allclose(found, mode, rtol=1e-10)


def mixed(
    old: dict[str, list[NDArray[np.float64]]], new: dict[str, list[NDArray[np.float64]]]
) -> dict[str, list[NDArray[np.float64]]]:
    """``decay old + (1 - decay) new``."""
    return {
        name: [DECAY * one + (1 - DECAY) * two for one, two in zip(old[name], new[name], strict=True)] for name in new
    }


def zeros() -> dict[str, list[NDArray[np.float64]]]:
    return {"conv": [np.zeros(3), np.zeros(4)], "head": [np.zeros(6)]}


def test_the_average_is_that_of_the_recurrence_from_zero(net: Net) -> None:
    scores, bases, wanted = GradientScores(layers_of(net), net, DECAY), some_bases(0), zeros()
    scores.follow(bases)
    assert scores.values is None
    for seed in range(5):
        draw_gradients(net, seed)
        with torch.no_grad():
            net.conv.weight.add_(0.1 * torch.randn_like(net.conv.weight))  # the weight of now counts
        scores.add()
        wanted = mixed(wanted, squares(net, bases))
        check(scores, wanted)


def test_after_following_new_bases_gradients_are_taken_along_them_and_the_past_stays(net: Net) -> None:
    scores, wanted = GradientScores(layers_of(net), net, DECAY), zeros()
    for seed in range(3):
        bases = some_bases(seed)
        scores.follow(bases)
        draw_gradients(net, seed)
        scores.add()
        wanted = mixed(wanted, squares(net, bases))
    check(scores, wanted)


def test_a_decay_of_zero_keeps_the_last_squares_only(net: Net) -> None:
    scores, bases = GradientScores(layers_of(net), net, 0.0), some_bases(0)
    scores.follow(bases)
    for seed in range(2):
        draw_gradients(net, seed)
        scores.add()
    check(scores, squares(net, bases))


def test_a_layer_without_gradient_is_left_out_until_it_has_one(net: Net) -> None:
    scores, bases, wanted = GradientScores(layers_of(net), net, DECAY), some_bases(0), zeros()
    scores.follow(bases)
    net.zero_grad(set_to_none=True)
    scores.add()
    assert scores.values is None
    draw_gradients(net, 0)
    wanted["head"] = mixed(wanted, squares(net, bases))["head"]
    net.conv.weight.grad = None
    scores.add()
    check(scores, {"head": wanted["head"]})
    draw_gradients(net, 1)
    scores.add()
    check(scores, mixed(wanted, squares(net, bases)))


def test_neither_gradients_nor_weights_are_changed(net: Net) -> None:
    scores = GradientScores(layers_of(net), net, DECAY)
    scores.follow(some_bases(0))
    draw_gradients(net, 0)
    before = [
        (parameter.detach().clone(), parameter.grad.clone())
        for parameter in net.parameters()
        if parameter.grad is not None
    ]
    scores.add()
    for parameter, (value, gradient) in zip(net.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert torch.equal(parameter.grad, gradient)


@pytest.mark.parametrize("missing", [False, True], ids=["every layer", "one layer yet"])
def test_a_state_from_a_file_goes_on_with_the_same_bits(net: Net, tmp_path: Path, missing: bool) -> None:
    bases = some_bases(0)
    unbroken, stopped = (GradientScores(layers_of(net), net, DECAY) for _ in range(2))
    for scores in (unbroken, stopped):
        scores.follow(bases)
        draw_gradients(net, 0)
        if missing:
            net.conv.weight.grad = None
        scores.add()
    save_state(tmp_path / "state", stopped.state_dict())
    restored = GradientScores(layers_of(net), net, DECAY)
    restored.load_state_dict(load_state(tmp_path / "state"))
    restored.follow(bases)
    for step in range(2):
        one, two = unbroken.values, restored.values
        assert one is not None
        assert two is not None
        assert one.keys() == two.keys() == ({"head"} if missing and not step else {"conv", "head"})
        for name in one:
            assert all(np.array_equal(*pair) for pair in zip(one[name], two[name], strict=True))
        draw_gradients(net, 1)
        unbroken.add()
        restored.add()


def test_the_state_of_scores_that_saw_nothing_restores_to_nothing(net: Net, tmp_path: Path) -> None:
    save_state(tmp_path / "state", GradientScores(layers_of(net), net, DECAY).state_dict())
    restored = GradientScores(layers_of(net), net, DECAY)
    restored.load_state_dict(load_state(tmp_path / "state"))
    assert restored.values is None


def test_a_network_in_single_precision_gives_scores_in_double(net: Net) -> None:
    net, bases = net.float(), some_bases(0)
    space = RankSpace.from_model(net, torch.zeros(1, 8, 6, 6), ["tucker2", "svd"])
    scores = GradientScores(gated_layers(space, Budget(params=0.8), None), net, 0.0)
    scores.follow(bases)
    draw_gradients(net, 0)
    scores.add()
    assert scores.values is not None
    assert {mode.dtype for modes in scores.values.values() for mode in modes} == {np.dtype(np.float64)}
    gradients = [parameter.grad.double() for parameter in net.parameters() if parameter.grad is not None]
    net.double()
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        parameter.grad = gradient
    for name, modes in squares(net, bases).items():
        for found, mode in zip(scores.values[name], modes, strict=True):
            np.testing.assert_allclose(found, mode, rtol=1e-3, atol=1e-6)
