"""Spaces with fewer options: the same optimum, the same ends, and everything that can be done in a full one."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from measured import cost
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from small_nets import CONV_NET_INPUT, FRAMES_INPUT, TINY_INPUT, ConvNet, Frames, Tiny
from torch import nn

from rank_search.errors import PlanError
from rank_search.space import Budget, Choice, RankPlan, RankSpace

FORMS: tuple[Any, ...] = ("tucker2", "svd", "svd_channel", "tensor_train", "svd_grouped")
BUDGETS = [Budget(macs=0.6), Budget(params=0.6), Budget(macs=0.75, params=0.65), Budget(macs=1.0)]
THINNED: list[dict[str, Any]] = [
    {"prune": True},
    {"multiple_of": 2},
    {"max_options": 5},
    {"prune": True, "multiple_of": 4, "max_options": 6},
]
every_thinning = pytest.mark.parametrize("options", THINNED, ids=lambda options: ",".join(options))
NETS = {"tiny": (Tiny, TINY_INPUT), "conv": (ConvNet, CONV_NET_INPUT), "frames": (Frames, FRAMES_INPUT)}


def space_of(net: str, **options: Any) -> RankSpace:
    torch.manual_seed(0)
    model, shape = NETS[net]
    return RankSpace.from_model(model(), torch.randn(shape), forms=options.pop("forms", FORMS), **options)


def any_plan(space: RankSpace, rng: np.random.Generator) -> RankPlan:
    return space.plan(np.array([rng.integers(len(options)) for options in space.layers]))


def optimum(space: RankSpace, budget: Budget) -> float:
    """The least total relative error of all plans within the budget, by looking at each."""
    rows = np.array(list(product(*[range(len(options)) for options in space.layers])))
    total: NDArray[np.float64] = sum(  # type: ignore[assignment]
        errors[rows[:, i]] for i, errors in enumerate(space.relative_errors())
    )
    costs = dict(zip(("params", "macs"), space.costs(rows).T, strict=True))
    inside = np.all([costs[metric] <= limit for metric, limit in budget.limits(space.dense_cost).items()], axis=0)
    return float(total[inside].min())


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_optimum_over_the_pruned_tables_is_that_over_the_full_ones(budget: Budget) -> None:
    full, pruned = space_of("tiny"), space_of("tiny", prune=True)
    assert pruned.size < full.size
    assert optimum(pruned, budget) == pytest.approx(optimum(full, budget), rel=1e-12)
    pruned.admit(pruned.plan(pruned.minimise(pruned.relative_errors(), budget).indices), budget)


@every_thinning
@pytest.mark.parametrize("net", NETS)
def test_the_smallest_cost_is_that_of_the_full_space_and_every_option_is_one_of_it(
    net: str, options: dict[str, Any]
) -> None:
    full, thin = space_of(net), space_of(net, **options)
    assert thin.smallest_cost == full.smallest_cost
    assert (thin.dense_cost, thin.fixed_cost, thin.skipped) == (full.dense_cost, full.fixed_cost, full.skipped)
    assert thin.size < full.size or net == "tiny"
    for table, whole in zip(thin.layers, full.layers, strict=True):
        assert table.choice(0) == whole.choice(0)
        for row in range(len(table)):
            same = whole.index(table.choice(row))
            assert table.index(table.choice(row)) == row
            assert table.costs[row].tolist() == whole.costs[same].tolist()
            assert table.errors[row] == pytest.approx(whole.errors[same], rel=1e-9, abs=1e-12 * whole.energy)


def test_max_options_bounds_every_table_and_counts_dense() -> None:
    for limit in (4, 7, 20):
        lengths = [len(table) for table in space_of("conv", max_options=limit).layers]
        assert max(lengths) <= limit
    assert [len(table) for table in space_of("conv", max_options=10**9).layers] == [
        len(table) for table in space_of("conv").layers
    ]


def test_multiple_of_leaves_the_number_of_groups_alone() -> None:
    model = nn.Conv2d(12, 24, 3)
    space = RankSpace.from_model(model, torch.randn(1, 12, 5, 5), forms=["svd_grouped"], multiple_of=8)
    ranks = space.layers[0].ranks[1:]
    assert set(ranks[:, 0].tolist()) == {1, 2, 3, 4, 6, 12}
    assert all(rank % 8 == 0 or rank in (1, ranks[:, 1].max()) for rank in ranks[:, 1].tolist())


@every_thinning
@pytest.mark.parametrize("net", NETS)
def test_every_option_comes_back_from_its_vector_and_any_vector_is_a_plan(net: str, options: dict[str, Any]) -> None:
    space, rng = space_of(net, **options), np.random.default_rng(0)
    for table in space.layers:
        for row in range(len(table)):
            plan = RankPlan({table.layer.name: table.choice(row)})
            assert space.decode(space.encode(plan)) == plan
    for vector in [np.zeros(space.width), np.ones(space.width), *rng.random((50, space.width))]:
        plan = space.decode(vector)
        assert space.decode(space.encode(plan)) == plan


@every_thinning
@pytest.mark.parametrize("budget", [Budget(macs=0.6), Budget(macs=0.75, params=0.65)], ids=str)
def test_projections_meet_the_budget_and_leave_alone_what_does(options: dict[str, Any], budget: Budget) -> None:
    space, rng = space_of("conv", **options), np.random.default_rng(0)
    for _ in range(20):
        plan = space.project(any_plan(space, rng), budget)
        space.admit(plan, budget)
        assert space.project(plan, budget) == plan
        space.admit(space.random_plan(rng, budget), budget)


@every_thinning
def test_neighbours_differ_in_one_layer_and_lead_from_every_plan_to_every_other(options: dict[str, Any]) -> None:
    space = space_of("tiny", **{"max_options": 7, **options})
    plans = [space.plan(np.array(rows)) for rows in product(*[range(len(table)) for table in space.layers])]
    number = {plan: i for i, plan in enumerate(plans)}
    steps = []
    for plan, at in number.items():
        around = space.neighbours(plan)
        assert len(set(around)) == len(around)
        for other in around:
            assert sum(plan[name] != other[name] for name in plan) == 1
            steps.append((at, number[other]))
    starts, ends = zip(*steps, strict=True)
    graph = coo_array((np.ones(len(steps)), (starts, ends)), shape=(len(plans), len(plans)))
    assert connected_components(graph, directed=True, connection="strong")[0] == 1


@every_thinning
def test_the_next_cheaper_and_dearer_options_of_a_form_are_neighbours(options: dict[str, Any]) -> None:
    space = space_of("conv", forms=["tucker2", "svd_channel"], include=["stem"], **options)
    (table,) = space.layers
    for form in range(len(table.forms)):
        rows = [row for row in range(len(table)) if table.form[row] == form]
        rows.sort(key=lambda row: table.costs[row, 0])
        for cheaper, dearer in pairwise(rows):
            for here, there in ((cheaper, dearer), (dearer, cheaper)):
                around = space.neighbours(RankPlan({"stem": table.choice(here)}))
                assert RankPlan({"stem": table.choice(there)}) in around


@every_thinning
@pytest.mark.parametrize("net", NETS)
def test_predicted_costs_are_what_torch_counts_in_the_compressed_network(net: str, options: dict[str, Any]) -> None:
    space, rng, example = space_of(net, **options), np.random.default_rng(1), torch.randn(NETS[net][1])
    torch.manual_seed(0)
    model = NETS[net][0]()
    for _ in range(4):
        plan = any_plan(space, rng)
        assert space.cost(plan) == cost(space.compress(model, plan), example)


WHY = " (this space leaves out options that others beat, or that multiple_of and max_options thin out)"


def test_a_plan_that_was_thinned_out_is_refused_with_the_reason() -> None:
    for options in THINNED:
        full, thin = space_of("conv"), space_of("conv", **options)
        whole, table = full.layers[0], thin.layers[0]
        kept = {table.choice(row) for row in range(len(table))}
        lost = next(choice for choice in map(whole.choice, range(len(whole))) if choice not in kept)
        for refuses in (thin.indices, thin.cost, thin.encode, thin.neighbours):
            with pytest.raises(PlanError) as caught:
                refuses(RankPlan({table.layer.name: lost}))
            assert str(caught.value).startswith(f"layer {table.layer.name!r}")
            assert str(caught.value).endswith(WHY)
            assert "\n" not in str(caught.value)


def test_a_form_that_lost_all_its_options_is_said_to_be_left_out() -> None:
    space = space_of("conv", forms=["svd_channel", "tucker2"], include=["stem"], max_options=4)
    assert [form.name for form in space.layers[0].forms] == ["tucker2"]
    with pytest.raises(PlanError) as caught:
        space.indices(RankPlan({"stem": Choice("svd_channel", (1,))}))
    assert str(caught.value) == f"layer 'stem' has no form 'svd_channel'; it has: dense, tucker2{WHY}"


def test_pruning_compares_options_of_one_form_only() -> None:
    twins = ["svd_channel", {"svd_grouped": {"groups": [1]}}]  # one group is the channel split: equal costs and errors
    full, pruned = (space_of("conv", forms=twins, include=["stem"], prune=prune).layers[0] for prune in (False, True))
    assert len(pruned) == len(full)
    assert [form.name for form in pruned.forms] == ["svd_channel", "svd_grouped"]


def test_a_full_space_says_nothing_of_thinning() -> None:
    with pytest.raises(PlanError) as caught:
        space_of("conv").indices(RankPlan({"stem": Choice("cp", (1,))}))
    assert WHY not in str(caught.value)


@pytest.mark.parametrize("form", ["cp", "tensor_train"])
def test_a_form_with_a_grid_of_its_own_keeps_about_as_many_ranks_on_multiples(form: str) -> None:
    model = nn.Sequential(nn.Conv2d(48, 48, 3))
    spaces = [RankSpace.from_model(model, torch.randn(1, 48, 5, 5), forms=[form], multiple_of=m) for m in (1, 8)]
    every, eights = (space.layers[0] for space in spaces)
    assert len(eights) > (0.5 if form == "cp" else 0.05) * len(every)
    ends = {*every.ranks[1:].min(0).tolist(), *every.ranks[1:].max(0).tolist()}
    assert all(rank % 8 == 0 or rank in ends for rank in eights.ranks[1:].flatten().tolist())
    assert spaces[0].smallest_cost == spaces[1].smallest_cost
