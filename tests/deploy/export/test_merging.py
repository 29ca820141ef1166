from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rank_search.deploy.export import export
from rank_search.deploy.export.merging import merge_factors
from rank_search.space import Choice, RankPlan, compress


class Pair(nn.Module):
    """Two layers, and how they are joined."""

    def __init__(self, first: nn.Module, second: nn.Module, join: str = "straight") -> None:
        super().__init__()
        self.first, self.second, self.between = first, second, nn.Dropout(0.5)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        made = self.between(self.first(x))
        if self.join == "relu":
            made = made.relu()
        out: Tensor = self.second(made)
        if self.join == "twice used":
            return out.mean() + made
        if self.join == "twice called":
            return out.mean() + self.second(made + 1)
        return out


def multiplications(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.ndim > 1)


def test_factors_of_a_linear_bottleneck_meet_and_become_one() -> None:
    """By hand: ranks 3 and 2 over 6 channels: 6 * 3 + 2 * 6 = 30 weights become 2 * 3 = 6."""
    torch.manual_seed(0)
    net = Pair(nn.Conv2d(12, 6, 1, stride=2), nn.Conv2d(6, 10, 3, padding=1)).eval()
    small = compress(net, RankPlan({"first": Choice("svd", (3,)), "second": Choice("tucker2", (5, 2))})).eval()
    inputs = torch.randn(2, 12, 9, 9)
    merged = copy.deepcopy(small)
    assert merge_factors(merged, inputs) == {"first.1": "second.0"}
    assert multiplications(small) - multiplications(merged) == 30 - 6
    assert isinstance(merged.first[1], nn.Identity)
    with torch.no_grad():
        assert torch.allclose(merged(inputs), small(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [(True, True), (True, False), (False, True), (False, False)])
def test_of_dense_linear_layers_a_bias_of_either_stays(bias: tuple[bool, bool]) -> None:
    torch.manual_seed(0)
    net = Pair(nn.Linear(3, 8, bias=bias[0]), nn.Linear(8, 4, bias=bias[1])).eval().double()
    inputs = torch.randn(5, 7, 3, dtype=torch.float64)
    with torch.no_grad():
        wanted = net(inputs)
    assert merge_factors(net, inputs) == {"first": "second"}
    assert multiplications(net) == 3 * 4
    with torch.no_grad():
        assert torch.allclose(net(inputs), wanted, rtol=1e-12, atol=1e-12)


def test_three_in_a_row_become_one() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 9), nn.Identity(), nn.Linear(9, 2)).eval()
    inputs = torch.randn(6, 4)
    with torch.no_grad():
        wanted = net(inputs)
    assert len(merge_factors(net, inputs)) == 2
    assert multiplications(net) == 8
    with torch.no_grad():
        assert torch.allclose(net(inputs), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "join"),
    [
        (nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1), "relu"),
        (nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), "twice used"),
        (nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1), "twice called"),
        (nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1), "straight"),
        (nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1, padding=1), "straight"),
        (nn.Conv2d(3, 8, 1, stride=2), nn.Conv2d(8, 3, 1), "straight"),
        (nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 3, 1), "straight"),
        (nn.Conv2d(9, 2, 1), nn.Conv2d(2, 9, 1), "straight"),  # 81 weights would take the place of 36
    ],
)
def test_what_is_no_one_matrix_or_saves_nothing_stays(first: nn.Module, second: nn.Module, join: str) -> None:
    net = Pair(first, second, join).eval()
    inputs = torch.randn(2, first.in_channels, 6, 6)  # type: ignore[arg-type]
    before = copy.deepcopy(net)
    assert merge_factors(net, inputs) == {}
    with torch.no_grad():
        assert torch.equal(net(inputs), before(inputs))


def test_an_export_merges_and_its_card_says_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(12, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 10, 3), nn.ReLU()).eval()
    small = compress(net, RankPlan({"0": Choice("svd", (3,)), "2": Choice("tucker2", (5, 2))}))
    exported = export(small, torch.randn(2, 12, 8, 8), tmp_path / "out", to="pt2", dense=net)
    assert exported.folding.folded == {"1": "0.1"}
    assert exported.folding.merged == {"0.1": "2.0"}
    assert "`0.1` is part of `2.0`" in (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")
