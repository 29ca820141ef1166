"""Batch norm goes into the layer before it exactly where that is the same function."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rank_search.deploy.export import fold_batch_norm
from rank_search.space import Choice, RankPlan, compress, plan_of


class Net(nn.Module):
    """A layer, a batch norm, and how they are run."""

    def __init__(self, layer: nn.Module, norm: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.norm, self._run = layer, norm, run

    def forward(self, inputs: Tensor) -> Tensor:
        return self._run(self, inputs)


def straight(net: nn.Module, inputs: Tensor) -> Tensor:
    found: Tensor = net.norm(net.layer(inputs)).relu()
    return found


def twice_used(net: nn.Module, inputs: Tensor) -> Tensor:
    middle = net.layer(inputs)
    found: Tensor = net.norm(middle) + middle
    return found


def twice_called(net: nn.Module, inputs: Tensor) -> Tensor:
    found: Tensor = net.norm(net.layer(inputs)) + net.layer(2 * inputs)
    return found


def norm_twice(net: nn.Module, inputs: Tensor) -> Tensor:
    found: Tensor = net.norm(net.layer(inputs)) + net.norm(inputs[:, :1] * torch.ones(4, 1, 1))
    return found


def apart(net: nn.Module, inputs: Tensor) -> Tensor:
    found: Tensor = net.norm(net.layer(inputs).relu())
    return found


def branching(net: nn.Module, inputs: Tensor) -> Tensor:
    return straight(net, inputs) if inputs.sum() > 0 else inputs


def made(layer: nn.Module, norm: nn.Module, run: Callable[..., Tensor], shape: tuple[int, ...]) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    net = Net(layer, norm, run)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    inputs = torch.rand(3, *shape)
    with torch.no_grad():
        for _ in range(3):
            net(inputs)
    return net.eval(), inputs


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv2d(2, 4, 3, stride=2, groups=2), nn.BatchNorm2d(4), (2, 6, 6)),
        (nn.Conv1d(2, 4, 3, bias=False), nn.BatchNorm1d(4, affine=False), (2, 6)),
        (nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4), (2, 3, 3, 3)),
        (nn.ConvTranspose2d(2, 4, 3), nn.BatchNorm2d(4), (2, 4, 4)),
        (nn.Linear(5, 4), nn.BatchNorm1d(4), (5,)),
    ],
)
def test_the_function_stays_and_the_batch_norm_goes(layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]) -> None:
    net, inputs = made(layer, norm, straight, shape)
    before = copy.deepcopy(net)
    folded, found = fold_batch_norm(net, inputs)
    assert found.folded == {"norm": "layer"}
    assert isinstance(folded.norm, nn.Identity)
    with torch.no_grad():
        assert torch.allclose(folded(inputs), net(inputs), rtol=1e-5, atol=1e-6)
    assert str(net) == str(before)
    assert all(torch.equal(one, other) for one, other in zip(net.buffers(), before.buffers(), strict=True))


@pytest.mark.parametrize(
    ("layer", "norm", "run", "shape", "why"),
    [
        (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), twice_used, (2, 6, 6), "is used elsewhere"),
        (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), twice_called, (2, 6, 6), "is called several times"),
        (nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), norm_twice, (2, 6, 6), "called 2 times"),
        (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), apart, (2, 6, 6), "no layer is directly before"),
        (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), branching, (2, 6, 6), "cannot be traced"),
        (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), straight, (2, 6, 6), "no running"),
        (nn.ConvTranspose2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), straight, (2, 4, 4), "with groups"),
        (nn.Linear(5, 4), nn.BatchNorm1d(4), straight, (4, 5), "another axis"),
        (nn.LayerNorm(6), nn.BatchNorm2d(2), straight, (2, 6, 6), "is a LayerNorm"),
    ],
)
def test_elsewhere_it_is_left_with_a_reason(
    layer: nn.Module, norm: nn.Module, run: Callable[..., Tensor], shape: tuple[int, ...], why: str
) -> None:
    net, inputs = made(layer, norm, run, shape)
    folded, found = fold_batch_norm(net, inputs)
    assert not found.folded
    assert why in found.left["norm"]
    with torch.no_grad():
        assert torch.equal(folded(inputs), net(inputs))


def test_the_last_factor_takes_it_and_the_plan_stays() -> None:
    net, inputs = made(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), straight, (6, 6, 6))
    plan = RankPlan({"layer": Choice("tucker2", (4, 3))})
    small = compress(net, plan)
    folded, found = fold_batch_norm(small, inputs)
    assert found.folded == {"norm": "layer.2"}
    assert plan_of(folded) == plan
    with torch.no_grad():
        assert torch.allclose(folded(inputs), small(inputs), rtol=1e-5, atol=1e-6)
