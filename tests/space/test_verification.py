"""A finished network that is not what its plan says is told by metric and layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_task import tiny_net, tiny_task
from torch import Tensor, nn

from rank_search.errors import EvaluationError
from rank_search.space import Choice, RankPlan, RankSpace
from rank_search.space.verification import verify_cost

PLAN = RankPlan({"first": Choice("tucker2", (2, 1)), "second": Choice("tucker2", (2, 2)), "head": Choice("dense")})
DENSE_MACS = 36 * 36 + 9 * 144 + 12
"""The network's own: 36 pixels of 36 weights, 9 of 144, and 12."""


def grown(network: nn.Module) -> None:
    network.register_parameter("extra", nn.Parameter(torch.zeros(5)))


def dense_again(network: nn.Module) -> None:
    network.second = tiny_net().second


def other_ranks(network: nn.Module) -> None:
    smaller = tiny_task().space.compress(tiny_net(), RankPlan({"first": Choice("tucker2", (1, 1))}))
    network.first = smaller.first


def bypassed(network: nn.Module) -> None:
    class Always(nn.Module):
        def __init__(self, kept: nn.Module) -> None:
            super().__init__()
            self.kept = kept

        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 4, 6, 6)

    network.first.forward = Always(nn.Identity()).forward  # type: ignore[method-assign, union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (grown, r"params\), its plan says \d+: the layers of the plan are as it says, something beside them changed$"),
        (dense_again, r": the layer 'second' should be tucker2 2,2, there stands Conv2d$"),
        (other_ranks, r": the layer 'first' should be tucker2 2,1, there stands tucker2 1,1$"),
        (bypassed, r"macs\), its plan says \d+: the layer 'first' \(tucker2 2,1\) has 0 macs, not \d+$"),
    ],
)
def test_a_difference_names_the_metric_and_the_layer(change: Callable[[nn.Module], None], message: str) -> None:
    space = tiny_task().space
    network = space.compress(tiny_net(), PLAN)
    verify_cost(space, network, PLAN)
    change(network)
    with pytest.raises(EvaluationError, match=message):
        verify_cost(space, network, PLAN)


def test_a_dense_layer_that_is_another_module_is_named() -> None:
    space = tiny_task().space
    network = space.compress(tiny_net(), PLAN)
    network.head = nn.Sequential(network.head, nn.Linear(3, 3))
    with pytest.raises(EvaluationError, match="the layer 'head' should be dense, there stands Sequential"):
        verify_cost(space, network, PLAN)


def test_the_dense_network_costs_what_the_space_says() -> None:
    space = tiny_task().space
    assert space.dense_cost["macs"] == DENSE_MACS
    verify_cost(space, tiny_net(), space.dense)


def test_a_space_without_a_sample_verifies_nothing() -> None:
    made = tiny_task().space
    bare = RankSpace(made.layers, made.skipped, made.metrics, made.fixed_cost)
    verify_cost(bare, nn.Linear(1, 1), PLAN)
