"""The split variables: against Z-steps written out in float64, enumeration, and a convex problem of known ranks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rank_tables import at_most
from torch import Tensor, nn
from written_out import gated, hard, soft, unfoldings

from rank_search.errors import InfeasibleBudgetError
from rank_search.searchers.batude.gated_layer import GatedLayer, gated_layers
from rank_search.searchers.batude.split_variables import SplitVariables
from rank_search.space import Budget, RankSpace
from rank_search.space.layers.counting import count_macs
from rank_search.states import load_state, save_state

pytestmark = pytest.mark.usefixtures("single_thread")

Weights = dict[str, Tensor]
IMAGES = (1, 3, 8, 8)
BUDGETS = (Budget(params=0.4), Budget(macs=0.5), Budget(params=0.6, macs=0.45))
both = pytest.mark.parametrize("is_soft", [True, False], ids=["soft", "hard"])
every_budget = pytest.mark.parametrize("budget", BUDGETS, ids=str)


class Net(nn.Module):
    """A strided convolution, a grouped one, a transposed one and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.up = nn.ConvTranspose2d(12, 6, 3, stride=2)
        self.head = nn.Linear(6, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.up(self.grouped(self.down(images))).mean((2, 3)))
        return logits


class Maps(nn.Module):
    """Linear maps of 16 to 12 features, side by side."""

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(16, 12, bias=False) for _ in range(count))

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([one(features) for one in self.maps])


def net_and_space(**options: Any) -> tuple[Net, RankSpace]:
    torch.manual_seed(0)
    net = Net()
    return net, RankSpace.from_model(net, torch.zeros(IMAGES), ["tucker2", "svd"], **options)


def maps_space(count: int = 3) -> RankSpace:
    torch.manual_seed(0)
    return RankSpace.from_model(Maps(count), torch.zeros(1, 16), ["svd"])


def split_of(space: RankSpace, budget: Budget, is_soft: bool = True, weight: float = 0.0) -> SplitVariables:
    return SplitVariables(space, budget, gated_layers(space, budget, None), is_soft, weight)


def drawn(space: RankSpace, seed: int) -> Weights:
    """Canonical weights in float64 with fading channels, of layers of very different sizes."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for options in space.layers:
        layer = options.layer
        out, into = layer.group_channels
        weight = torch.randn(layer.groups, out, into, layer.taps, generator=generator, dtype=torch.float64)
        fade = torch.exp(-torch.arange(out) * torch.rand(1, generator=generator)).double()
        found[layer.name] = weight * fade[:, None, None] * 10 * torch.rand(1, generator=generator)
    return found


def near(weights: Weights, seed: int) -> Weights:
    """Weights as some training leaves them."""
    torch.manual_seed(seed)
    return {name: weight + 0.1 * weight.std() * torch.randn_like(weight) for name, weight in weights.items()}


def norm(tensors: Mapping[str, Tensor]) -> float:
    return float(sum(float((tensor**2).sum()) for tensor in tensors.values())) ** 0.5


def z_step(layers: list[GatedLayer], ranks: Mapping[str, tuple[int, ...]], moved: Weights, is_soft: bool) -> Weights:
    """Z of every layer from M = W + U at given ranks; M itself where dense."""
    gate = soft if is_soft else hard
    return {
        layer.name: gated(
            (layer.form, layer.layer),
            moved[layer.name],
            [[gate(rank)] * layer.layer.groups for rank in ranks[layer.name]],
        )
        if ranks[layer.name]
        else moved[layer.name]
        for layer in layers
    }


def minus(one: Weights, other: Weights) -> Weights:
    return {name: one[name] - other[name] for name in one}


@both
@every_budget
def test_three_z_steps_are_those_of_the_formulas(budget: Budget, is_soft: bool) -> None:
    """M = W + U; Z = gates of M; then U = U + W - Z, not at the first; a dense layer has Z = W and U = 0."""
    _, space = net_and_space()
    split, layers = split_of(space, budget, is_soft), gated_layers(space, budget, None)
    weights = drawn(space, seed=1)
    u = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    before: Weights = {}
    for step in range(3):
        plan = split.split(weights, None, frozen=False)
        assert any(split.ranks.values())
        moved = {name: weight + u[name] for name, weight in weights.items()}
        z = z_step(layers, split.ranks, moved, is_soft)
        for layer in layers:
            name = layer.name
            if split.ranks[name] == ():
                z[name], u[name] = weights[name], torch.zeros_like(u[name])
            elif step:
                u[name] = moved[name] - z[name]
        state, targets = split.state_dict(), split.targets()
        for layer in layers:
            name, ranks = layer.name, split.ranks[layer.name]
            torch.testing.assert_close(state["z"][name], z[name], rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(state["u"][name], u[name], rtol=1e-6, atol=1e-6)
            assert plan[name].ranks == ranks
            assert plan[name].form == (layer.form.name if ranks else "dense")
            assert (name in targets) == bool(ranks)
            if ranks:
                torch.testing.assert_close(targets[name], z[name] - u[name], rtol=1e-6, atol=1e-6)
                for mode, rank in enumerate(ranks):
                    spectra = [
                        torch.linalg.svdvals(one) for one in unfoldings((layer.form, layer.layer), moved[name])[mode]
                    ]
                    first_dropped = max((float(one[rank]) for one in spectra if rank < len(one)), default=0.0)
                    assert split.thresholds[name][mode] == pytest.approx(first_dropped, rel=1e-6, abs=1e-6)
        assert split.primal == pytest.approx(norm(minus(weights, z)) / norm(weights), rel=1e-6)
        dual = norm(minus(z, before)) / norm(weights) if step else 0.0
        assert split.dual == pytest.approx(dual, rel=1e-6)
        before, weights = z, near(weights, seed=step)


@both
def test_a_layer_left_dense_has_its_weight_as_z_no_dual_and_no_target(is_soft: bool) -> None:
    """The third step leaves the layer dense that the first one cut, and its dual is forgotten."""
    space = maps_space(2)
    budget = Budget(params=2 * 192 - 80)  # one of them at rank 4, the other dense
    split = split_of(space, budget, is_soft)
    weak, strong = (options.layer.name for options in space.layers)
    full = torch.randn(1, 12, 16, 1, dtype=torch.float64)
    flat = torch.ones_like(full) + 0.01 * torch.randn_like(full)
    for _ in range(2):
        split.split({weak: flat, strong: full}, None, frozen=False)
    assert (split.ranks[strong], bool(split.ranks[weak])) == ((), True)
    assert split.state_dict()["u"][weak].abs().max() > 0
    split.split({weak: full, strong: flat}, None, frozen=False)
    assert (split.ranks[weak], bool(split.ranks[strong])) == ((), True)
    state = split.state_dict()
    assert torch.equal(state["z"][weak], full)
    assert (state["u"][weak] == 0).all()
    assert set(split.targets()) == {strong}
    assert all((gate == 1).all() for gate in split.gates[weak])
    assert split.thresholds[weak] == [0.0]


def counted(network: nn.Module) -> dict[str, int]:
    params = sum(parameter.numel() for parameter in network.parameters())
    return {"params": params, "macs": count_macs(network, torch.zeros(IMAGES))}


def check_cost(net: Net, space: RankSpace, budget: Budget, split: SplitVariables) -> None:
    """What the compressed network really costs is within the budget."""
    cost, dense = counted(space.compress(net, split.plan())), counted(net)
    for metric, bound in budget.to_dict().items():
        assert cost[metric] <= bound * dense[metric]


@both
@every_budget
def test_the_budget_holds_after_every_split_of_any_weights(budget: Budget, is_soft: bool) -> None:
    net, space = net_and_space()
    for seed in range(8):
        split, weights = split_of(space, budget, is_soft), drawn(space, seed)
        for step in range(3):
            split.split(weights, None, frozen=False)
            check_cost(net, space, budget, split)
            weights = near(weights, seed=step)


@every_budget
def test_plans_of_a_thinned_space_are_its_own_and_within_the_budget(budget: Budget) -> None:
    net, space = net_and_space(prune=True, multiple_of=2)
    ends: dict[str, tuple[Any, Any]] = {}
    for options in space.layers:
        ends[options.layer.name] = options.ranks[1:].min(0).tolist(), options.ranks[1:].max(0).tolist()
    for seed in range(25):
        split = split_of(space, budget)
        with at_most(2):
            plan = split.split(drawn(space, seed), None, frozen=False)
        assert space.plan(space.indices(plan)) == plan
        for name, ranks in split.ranks.items():
            low, high = ends[name]
            assert all(
                rank % 2 == 0 or rank in (least, most) for rank, least, most in zip(ranks, low, high, strict=False)
            )
        check_cost(net, space, budget, split)


def test_frozen_ranks_stay_while_gates_and_thresholds_follow_the_weights() -> None:
    _, space = net_and_space()
    split = split_of(space, BUDGETS[0])
    first, other = drawn(space, seed=1), drawn(space, seed=2)
    split.split(first, None, frozen=True)  # there are no ranks yet to stay with
    ranks, thresholds, gates = dict(split.ranks), dict(split.thresholds), dict(split.gates)
    loose = split_of(space, BUDGETS[0])
    loose.split(first, None, frozen=False)
    assert loose.ranks == ranks
    split.split(other, None, frozen=True)
    loose.split(other, None, frozen=False)
    assert split.ranks == ranks
    assert loose.ranks != ranks
    for name, chosen in ranks.items():
        if chosen:
            assert split.thresholds[name] != thresholds[name]
            assert not all(torch.equal(*pair) for pair in zip(split.gates[name], gates[name], strict=True))


@both
def test_a_state_from_a_file_goes_on_with_the_same_bits(tmp_path: Path, is_soft: bool) -> None:
    _, space = net_and_space()
    weights = [drawn(space, seed=1), near(drawn(space, seed=1), seed=2), near(drawn(space, seed=1), seed=3)]
    unbroken, stopped = (split_of(space, BUDGETS[2], is_soft) for _ in range(2))
    for one in weights[:2]:
        unbroken.split(one, None, frozen=False)
        stopped.split(one, None, frozen=False)
    save_state(tmp_path / "state", stopped.state_dict())
    restored = split_of(space, BUDGETS[2], is_soft)
    restored.load_state_dict(load_state(tmp_path / "state"))
    for step in (2, 3):
        assert (restored.ranks, restored.thresholds) == (unbroken.ranks, unbroken.thresholds)
        assert (restored.primal, restored.dual) == (unbroken.primal, unbroken.dual)
        assert restored.plan() == unbroken.plan()
        one, other = restored.state_dict(), unbroken.state_dict()
        for key in ("z", "u"):
            assert all(torch.equal(one[key][name], other[key][name]) for name in other[key])
        for key in ("gates", "bases"):
            for name in other[key]:
                assert all(torch.equal(*pair) for pair in zip(one[key][name], other[key][name], strict=True))
        assert restored.targets().keys() == unbroken.targets().keys()
        if step == 2:
            assert restored.split(weights[2], None, False) == unbroken.split(weights[2], None, False)


def scores_of(layers: list[GatedLayer], seed: int) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    return {layer.name: [rng.random(rank) for rank in layer.full] for layer in layers}


def test_with_gradient_weight_zero_scores_change_no_bit() -> None:
    _, space = net_and_space()
    weights, layers = drawn(space, seed=1), gated_layers(space, BUDGETS[0], None)
    energy, mixed, other = (split_of(space, BUDGETS[0], weight=weight) for weight in (0.0, 0.0, 1.0))
    for step in range(2):
        plan = energy.split(weights, None, frozen=False)
        assert mixed.split(weights, scores_of(layers, step), frozen=False) == plan
        one, two = energy.state_dict(), mixed.state_dict()
        for name in weights:
            assert torch.equal(one["z"][name], two["z"][name])
            assert torch.equal(one["u"][name], two["u"][name])
        assert one["thresholds"] == two["thresholds"]
        weights = near(weights, seed=step)
    assert other.split(weights, scores_of(layers, 1), frozen=False) != energy.plan()


@pytest.mark.parametrize("important", ["down", "grouped", "up", "head"])
def test_the_one_layer_that_the_gradient_needs_keeps_larger_ranks(important: str) -> None:
    _, space = net_and_space()
    weights, layers = drawn(space, seed=1), gated_layers(space, BUDGETS[0], None)
    assert all(layer.name in weights for layer in layers)
    scores = {layer.name: [np.full(rank, float(layer.name == important)) for rank in layer.full] for layer in layers}
    kept = {}
    for weight in (0.0, 0.9):
        split = split_of(space, Budget(params=0.3), weight=weight)
        split.split(weights, scores, frozen=False)
        kept[weight] = {layer.name: np.prod(split.ranks[layer.name] or layer.full) for layer in layers}
    assert kept[0.9][important] > kept[0.0][important]
    assert any(kept[0.9][name] < kept[0.0][name] for name in kept[0.0] if name != important)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
def test_the_mixed_loss_is_the_weighted_sum_of_lost_energy_and_of_scores_of_the_same_total(weight: float) -> None:
    """Two layers of one mode: against every pair of ranks, the loss written out."""

    def fits(pair: tuple[tuple[int, ...], ...]) -> bool:
        return sum(28 * rank[0] if rank else 192 for rank in pair) <= 28 * 7

    space = maps_space(2)
    budget = Budget(params=28 * 7)
    layers = gated_layers(space, budget, None)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        weights = drawn(space, seed)
        scores = {layer.name: [np.sort(rng.random(12) ** 4)[::-1] * rng.random()] for layer in layers}
        total = sum(mode.sum() for (mode,) in scores.values())
        split = split_of(space, budget, weight=weight)
        split.split(weights, scores, frozen=False)
        lost: list[dict[tuple[int, ...], float]] = []
        for layer in layers:
            energy = torch.linalg.svdvals(weights[layer.name][0, :, :, 0]).numpy() ** 2
            (score,) = scores[layer.name]
            energy /= energy.sum()
            mixed = [(1 - weight) * energy[r:].sum() + weight * 2 * score[r:].sum() / total for r in range(7)]
            lost.append({(): 0.0} | {(rank,): mixed[rank] for rank in range(1, 7)})
        pairs = [(sum(lost[i][rank] for i, rank in enumerate(pair)), pair) for pair in product(*lost) if fits(pair)]
        assert tuple(split.ranks.values()) == min(pairs)[1]


def test_scores_that_are_all_zero_leave_the_energy_to_choose() -> None:
    _, space = net_and_space()
    weights, layers = drawn(space, seed=1), gated_layers(space, BUDGETS[0], None)
    energy, mixed = split_of(space, BUDGETS[0]), split_of(space, BUDGETS[0], weight=1.0)
    none = {layer.name: [np.zeros(rank) for rank in layer.full] for layer in layers}
    assert mixed.split(weights, none, frozen=False) == energy.split(weights, None, frozen=False)


@pytest.mark.parametrize("budget", [Budget(params=0.05), Budget(macs=0.02), Budget(params=0.9, macs=0.02)], ids=str)
def test_a_budget_that_no_ranks_meet_is_refused_at_once(budget: Budget) -> None:
    _, space = net_and_space()
    with pytest.raises(InfeasibleBudgetError, match="no plan of this space meets the budget"):
        split_of(space, budget)


def test_weights_that_are_all_zero_have_no_residuals() -> None:
    _, space = net_and_space()
    split = split_of(space, BUDGETS[0])
    split.split({name: torch.zeros_like(weight) for name, weight in drawn(space, 0).items()}, None, frozen=False)
    assert (split.primal, split.dual) == (0.0, 0.0)


@both
@pytest.mark.parametrize("rho", [0.1, 0.5])
def test_ranks_of_noisy_linear_maps_are_recovered_from_random_weights(is_soft: bool, rho: float) -> None:
    """Least squares on ``Y = X A^T + noise`` with A of rank 2, 4 and 6, under a budget that just fits 12 ranks."""
    space, generator = maps_space(), torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    split, data, weights = split_of(space, Budget(params=28 * 12), is_soft), {}, {}
    for options, rank in zip(space.layers, (2, 4, 6), strict=True):
        name, inputs = options.layer.name, normal(200, 16)
        data[name] = inputs, inputs @ (normal(12, rank) @ normal(rank, 16) / rank**0.5).T + 0.05 * normal(200, 12)
        weights[name] = normal(12, 16)
    duals = []
    for period in range(31):
        split.split({name: weight[None, :, :, None] for name, weight in weights.items()}, None, frozen=False)
        if period == 0:
            assert list(split.ranks.values()) != [(2,), (4,), (6,)]
        else:
            duals.append(split.dual)
        targets = {name: target.reshape(12, 16) for name, target in split.targets().items()}
        for name, (inputs, wanted) in data.items():
            for _ in range(15):
                gradient = (inputs @ weights[name].T - wanted).T @ inputs / len(inputs)
                if name in targets:
                    gradient = gradient + rho * (weights[name] - targets[name])
                weights[name] = weights[name] - 0.5 * gradient
    assert list(split.ranks.values()) == [(2,), (4,), (6,)]
    assert np.mean(duals[-10:]) < 0.01 * np.mean(duals[:10])
    assert split.primal < 0.005
