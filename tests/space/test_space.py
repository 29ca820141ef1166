"""The space of a model: predicted costs against what torch counts, the gate of the budget, what is left out and why."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from measured import build_option, cost, macs, squared_error
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, milp
from small_nets import (
    CONV_NET_INPUT,
    FRAMES_INPUT,
    SHAPED_INPUT,
    TINY_INPUT,
    ZOO_INPUT,
    ConvNet,
    Frames,
    Shaped,
    Tiny,
    Zoo,
)
from torch import nn

from rank_search.errors import (
    InfeasibleBudgetError,
    OverBudgetError,
    PlanError,
)
from rank_search.space import DENSE, Budget, Choice, RankPlan, RankSpace
from rank_search.task.networks.models import load_model

ALL_FORMS = ("tucker2", "svd", "cp", "svd_channel", "svd_spatial", "svd_grouped", "tensor_train")


def space_of(model: nn.Module, shape: tuple[int, ...], *forms: str) -> RankSpace:
    return RankSpace.from_model(model, torch.randn(shape), forms=forms or ("tucker2", "svd"))


def any_plan(space: RankSpace, rng: np.random.Generator) -> RankPlan:
    """A plan drawn row by row, whatever it costs."""
    return space.plan(np.array([rng.integers(len(options)) for options in space.layers]))


# -- costs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "shape", "forms", "plans"),
    [
        (ConvNet(), CONV_NET_INPUT, ("tucker2", "svd"), 12),
        (ConvNet(), CONV_NET_INPUT, ("tucker2", "cp", "svd"), 8),
        (Shaped(), SHAPED_INPUT, ("tucker2", "svd"), 8),
        (Zoo(), ZOO_INPUT, ("cp", "svd"), 4),
        (Zoo(), ZOO_INPUT, ALL_FORMS, 6),
        (Frames(), FRAMES_INPUT, ALL_FORMS, 12),
        ("cifar_resnet20", (1, 3, 32, 32), ("tucker2", "svd"), 3),
        ("torchvision:resnet18", (1, 3, 64, 64), ("tucker2", "svd"), 2),
    ],
    ids=[
        "small",
        "small, three forms",
        "tokens and folded batches",
        "zoo",
        "zoo, all forms",
        "frames",
        "resnet20",
        "resnet18",
    ],
)
def test_the_predicted_cost_of_random_plans_is_what_torch_counts_in_the_compressed_network(
    model: nn.Module | str, shape: tuple[int, ...], forms: tuple[str, ...], plans: int
) -> None:
    model = load_model(model) if isinstance(model, str) else model
    space, example, rng = space_of(model, shape, *forms), torch.randn(shape), np.random.default_rng(0)
    assert space.cost(space.dense) == space.dense_cost == cost(model, example)
    drawn = [any_plan(space, rng) for _ in range(plans)] + [space.random_plan(rng, Budget(macs=0.8))]
    for plan in drawn:
        assert space.cost(plan) == cost(space.compress(model, plan), example)


def test_a_module_called_twice_and_tokens_count_in_every_plan() -> None:
    model, example = Shaped(), torch.randn(SHAPED_INPUT)
    space = RankSpace.from_model(model, example)
    for layer, rank in (("tokens", 3), ("twice", 4), ("folded", 2)):
        plan = RankPlan({layer: Choice("svd", (rank,))})
        assert space.cost(plan) == cost(space.compress(model, plan), example)
    plan = RankPlan({"frames": Choice("tucker2", (2, 3))})
    assert space.cost(plan) == cost(space.compress(model, plan), example)


def test_the_fixed_cost_is_what_no_plan_changes() -> None:
    model = ConvNet()
    space, example = space_of(model, CONV_NET_INPUT), torch.randn(CONV_NET_INPUT)
    assert set(space.skipped) == {"depthwise"}
    weights = sum(model.get_submodule(name).weight.numel() for name in space.dense)
    assert space.fixed_cost["params"] == cost(model, example)["params"] - weights
    assert space.fixed_cost["macs"] == macs(model.depthwise, torch.randn(1, 8, 5, 6))


@pytest.mark.parametrize("population", [1, 2, 50])
def test_the_costs_of_a_population_are_those_of_its_plans_row_by_row(population: int) -> None:
    space, rng = space_of(ConvNet(), CONV_NET_INPUT, "tucker2", "cp", "svd"), np.random.default_rng(1)
    rows = np.stack([rng.integers(len(options), size=population) for options in space.layers], axis=1)
    costs = space.costs(rows)
    assert costs.dtype == np.int64
    assert costs.tolist() == [list(space.cost(space.plan(row)).values()) for row in rows]
    assert space.costs(rows.astype(np.uint16)).tolist() == costs.tolist()
    np.testing.assert_array_equal([space.indices(space.plan(row)) for row in rows], rows)


def test_an_empty_population_has_no_costs() -> None:
    space = space_of(Tiny(), TINY_INPUT)
    assert space.costs(np.empty((0, 3), np.int64)).shape == (0, 2)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.zeros(3, np.int64), r"\[plans, 3\]"),
        (np.zeros((1, 2), np.int64), r"\[plans, 3\], not int64 \(1, 2\)"),
        (np.zeros((1, 1, 3), np.int64), r"\[plans, 3\]"),
        (np.zeros((1, 3)), "not float64"),
        (np.zeros((1, 3), bool), "not bool"),
        (np.zeros((0, 2), np.int64), r"\[plans, 3\]"),
        (np.array([[0, 0, 0], [0, -1, 0]]), r"layer 'second' has the options 0\.\.\d+, not -1$"),
        (np.array([[0, 0, 99], [0, 0, 0]]), r"layer 'head' has the options 0\.\.\d+, not 99$"),
    ],
)
def test_a_bad_population_is_refused(rows: np.ndarray, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(PlanError, match=words):
        space_of(Tiny(), TINY_INPUT).costs(rows)


def test_size_counts_the_plans_exactly() -> None:
    space = space_of(Tiny(), TINY_INPUT)
    assert space.size == math.prod(len(options) for options in space.layers) < 10_000
    large = space_of(load_model("cifar_resnet20"), (1, 3, 32, 32))
    assert large.size > 2**100
    assert large.size == math.prod(len(options) for options in large.layers)


# -- the gate ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budget", [Budget(macs=0.5), Budget(params=0.6), Budget(params=0.7, macs=0.6), Budget(macs=9000), Budget(params=1)]
)
def test_admit_refuses_a_plan_exactly_when_torch_counts_more_than_the_budget(budget: Budget) -> None:
    model, example = ConvNet(), torch.randn(CONV_NET_INPUT)
    space, rng = RankSpace.from_model(model, example), np.random.default_rng(2)
    dense, verdicts = cost(model, example), set()
    for _ in range(25):
        plan = any_plan(space, rng)
        counted = cost(space.compress(model, plan), example)
        over = any(counted[metric] > (bound if bound > 1 else bound * dense[metric]) for metric, bound in budget.bounds)
        verdicts.add(over)
        if over:
            with pytest.raises(OverBudgetError, match="the budget"):
                space.admit(plan, budget)
        else:
            assert space.admit(plan, budget) == counted
    assert verdicts == ({False} if budget == Budget(params=1) else {True, False})


def test_admit_allows_the_last_unit_and_no_more() -> None:
    space = space_of(Tiny(), TINY_INPUT)
    plan = RankPlan({"second": Choice("tucker2", (1, 1))})
    for metric, spent in space.cost(plan).items():
        assert space.admit(plan, Budget(**{metric: spent})) == space.cost(plan)
        with pytest.raises(OverBudgetError) as caught:
            space.admit(plan, Budget(**{metric: spent - 1}))
        assert f"costs {spent} {metric}" in str(caught.value)
        assert f"allows {spent - 1}" in str(caught.value)


def test_the_smallest_cost_is_that_of_the_cheapest_plan_and_one_less_is_infeasible() -> None:
    space = space_of(Tiny(), TINY_INPUT)
    grids = np.meshgrid(*[np.arange(len(options)) for options in space.layers], indexing="ij")
    every = space.costs(np.stack([grid.ravel() for grid in grids], axis=1))
    assert list(space.smallest_cost.values()) == every.min(0).tolist()
    for metric, least in space.smallest_cost.items():
        space.require_feasible(Budget(**{metric: least}))
        with pytest.raises(InfeasibleBudgetError, match=rf"the smallest reachable is {least} {metric}"):
            space.require_feasible(Budget(**{metric: least - 1}))
        with pytest.raises(InfeasibleBudgetError):
            space.minimise([np.zeros(len(options)) for options in space.layers], Budget(**{metric: least - 1}))


@pytest.mark.parametrize("bounds", [{"macs": 0.5}, {"params": 0.5}, {"macs": 0.6, "params": 0.5}])
def test_the_data_free_optimum_of_a_network_is_the_one_that_highs_proves(bounds: dict[str, float]) -> None:
    space = space_of(ConvNet(), CONV_NET_INPUT)
    budget, values = Budget(**bounds), space.relative_errors()
    counts = [len(value) for value in values]
    layer = np.repeat(np.arange(len(counts)), counts)
    spent = np.concatenate([options.costs for options in space.layers])
    limits = {"params": np.inf, "macs": np.inf, **budget.limits(space.dense_cost)}
    room = [limits[metric] - space.fixed_cost[metric] for metric in ("params", "macs")]
    proven = milp(
        np.concatenate(values),
        constraints=[
            LinearConstraint((layer == np.arange(len(counts))[:, None]).astype(float), 1, 1),
            LinearConstraint(spent.T.astype(float), -np.inf, room),
        ],
        integrality=np.ones(len(layer)),
    )
    found = space.minimise(values, budget)
    space.admit(space.plan(found.indices), budget)
    assert proven.fun * (1 - 1e-4) <= found.value <= proven.fun * 1.01
    assert found.lower_bound <= proven.fun * (1 + 1e-4)


def test_relative_errors_are_distances_over_energies() -> None:
    model = ConvNet()
    space = space_of(model, CONV_NET_INPUT, "tucker2", "svd")
    for options, errors in zip(space.layers, space.relative_errors(), strict=True):
        module = model.get_submodule(options.layer.name)
        energy = float(module.weight.detach().double().square().sum())
        double = copy.deepcopy(module).double()
        assert errors[0] == 0
        for row in range(1, len(options)):
            distance = squared_error(double, build_option(options, row, double))
            assert errors[row] == pytest.approx(distance / energy, rel=1e-9, abs=1e-12)


def test_a_layer_of_zeros_has_no_error_to_divide_by() -> None:
    model = Tiny()
    nn.init.zeros_(model.second.weight)
    space = space_of(model, TINY_INPUT)
    assert all(np.isfinite(errors).all() for errors in space.relative_errors())
    plan = space.plan(space.minimise(space.relative_errors(), Budget(macs=0.9)).indices)
    assert torch.isfinite(space.compress(model, plan)(torch.randn(TINY_INPUT))).all()


# -- plans of this model and of others ---------------------------------------------------------------------------------


def test_layers_that_are_not_named_are_dense_and_skipped_ones_may_be_spelled_out() -> None:
    model = Zoo()
    space = space_of(model, ZOO_INPUT)
    spelled_out = RankPlan(dict.fromkeys([*space.skipped, *space.dense], DENSE))
    assert space.indices(spelled_out).tolist() == space.indices(RankPlan({})).tolist() == [0] * len(space.layers)
    assert spelled_out == space.dense == RankPlan({})
    example = torch.randn(ZOO_INPUT)
    with torch.no_grad():
        torch.testing.assert_close(space.compress(model, spelled_out)(example), model(example), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"heat": "dense"}, "'heat', which this model does not have (did you mean 'head'?)"),
        ({"layer1.0.conv1": {"form": "svd", "ranks": [1]}}, "is it another model's?"),
        ({"depthwise": {"form": "tucker2", "ranks": [1, 1]}}, "'depthwise', which is not in this space: depthwise"),
        ({"head": {"form": "tucker2", "ranks": [1, 1]}}, "layer 'head' has no form 'tucker2'"),
        ({"head": {"form": "svd", "ranks": [6]}}, "layer 'head': svd rank 6 of mode 'rank' is above the largest, 5"),
        ({"head": {"form": "svd", "ranks": [4]}}, "layer 'head': svd ranks [4] cost at least as much as the dense"),
        ({"stem": {"form": "tucker2", "ranks": [6, 2, 1]}}, "layer 'stem': tucker2 takes 2 rank(s)"),
    ],
)
def test_a_plan_of_another_model_or_space_is_refused_with_the_layer(plan: dict[str, object], words: str) -> None:
    model = ConvNet()
    space = space_of(model, CONV_NET_INPUT)
    for refuses in (space.indices, space.cost, space.encode, space.neighbours, lambda p: space.compress(model, p)):
        with pytest.raises(PlanError) as caught:
            refuses(RankPlan.from_json(plan))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


# -- improving a plan --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [Budget(macs=0.7), Budget(params=0.6), Budget(params=0.7, macs=0.8)], ids=str)
def test_an_improved_plan_is_within_the_budget_no_worse_than_its_start_and_near_the_best(budget: Budget) -> None:
    space = space_of(Tiny(), TINY_INPUT)
    errors, rng = space.relative_errors(), np.random.default_rng(0)
    lost = {plan: value_of(space, errors, plan) for plan in space.feasible_plans(budget)}
    best, gaps = min(lost.values()), []
    for _ in range(60):
        start = any_plan(space, rng)
        found = space.improve(errors, budget, start, np.ones(len(budget.metrics)))
        assert space.admit(found, budget)
        assert found == space.improve(errors, budget, start, np.ones(len(budget.metrics)))
        assert lost[found] <= lost.get(start, np.inf) + 1e-12
        gaps.append(lost[found] / best - 1)
    assert min(gaps) > -1e-9
    assert np.mean(np.array(gaps) < 1e-9) > 0.7
    assert np.mean(gaps) < 0.1


@pytest.mark.parametrize("budget", [Budget(macs=0.7), Budget(params=0.7, macs=0.8)], ids=str)
def test_from_a_start_with_a_forbidden_option_it_finds_a_plan_without(budget: Budget) -> None:
    space, rng = space_of(Tiny(), TINY_INPUT), np.random.default_rng(1)
    errors = space.relative_errors()
    for _ in range(30):
        start = any_plan(space, rng)
        values = [error.copy() for error in errors]
        for value, row in zip(values, space.indices(start), strict=True):
            if row:
                value[row] = np.inf
        found = space.improve(values, budget, start, np.ones(len(budget.metrics)))
        assert space.admit(found, budget)
        assert np.isfinite(value_of(space, values, found))


def value_of(space: RankSpace, values: Sequence[NDArray[np.float64]], plan: RankPlan) -> float:
    return float(sum(value[row] for value, row in zip(values, space.indices(plan), strict=True)))
