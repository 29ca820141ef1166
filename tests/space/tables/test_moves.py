"""Moving in a space: vectors and back, projection, neighbours, random and all plans, each against brute force."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from small_nets import CONV_NET_INPUT, TINY_INPUT, ConvNet, Tiny
from torch import nn

from rank_search.errors import InfeasibleBudgetError, PlanError
from rank_search.space import DENSE, Budget, Choice, RankPlan, RankSpace
from rank_search.space.tables.moves import FORM_CHANGE
from rank_search.space.tables.options import LayerOptions
from rank_search.task.networks.models import load_model

BUDGETS = [Budget(macs=0.6), Budget(params=0.6), Budget(macs=0.75, params=0.65)]
FORMS = [("tucker2", "svd"), ("tucker2", "cp", "svd"), ("cp",)]


def tiny(forms: tuple[str, ...] = ("tucker2", "svd")) -> RankSpace:
    torch.manual_seed(0)
    return RankSpace.from_model(Tiny(), torch.randn(TINY_INPUT), forms=forms)


def conv_net(forms: tuple[str, ...] = ("tucker2", "cp", "svd")) -> RankSpace:
    torch.manual_seed(0)
    return RankSpace.from_model(ConvNet(), torch.randn(CONV_NET_INPUT), forms=forms)


def all_plans(space: RankSpace) -> list[RankPlan]:
    """Every combination of the options, one layer after the other."""
    names = list(space.dense)
    options = [[table.choice(row) for row in range(len(table))] for table in space.layers]
    return [RankPlan(dict(zip(names, choices, strict=True))) for choices in product(*options)]


def within(space: RankSpace, plan: RankPlan, budget: Budget) -> bool:
    cost = space.cost(plan)
    return all(cost[metric] <= limit for metric, limit in budget.limits(space.dense_cost).items())


# -- vectors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", FORMS)
def test_every_option_of_every_layer_comes_back_from_its_vector(forms: tuple[str, ...]) -> None:
    space = conv_net(forms)
    for options in space.layers:
        for row in range(len(options)):
            plan = RankPlan({options.layer.name: options.choice(row)})
            vector = space.encode(plan)
            assert vector.shape == (space.width,)
            assert ((vector >= 0) & (vector <= 1)).all()
            assert space.decode(vector) == plan


@pytest.mark.parametrize("forms", FORMS)
def test_random_plans_come_back_from_their_vectors(forms: tuple[str, ...]) -> None:
    space, rng = conv_net(forms), np.random.default_rng(0)
    for _ in range(100):
        plan = space.plan(np.array([rng.integers(len(options)) for options in space.layers]))
        assert space.decode(space.encode(plan)) == plan


@pytest.mark.parametrize("forms", FORMS)
def test_any_vector_is_a_plan_of_the_space_and_all_of_it_can_be_reached(forms: tuple[str, ...]) -> None:
    space, rng = conv_net(forms), np.random.default_rng(0)
    seen: list[set[Choice]] = [set() for _ in space.layers]
    for vector in [np.zeros(space.width), np.ones(space.width), *rng.random((300, space.width))]:
        plan = space.decode(vector)
        assert list(plan) == list(space.dense)
        space.indices(plan)
        for choices, choice in zip(seen, plan.values(), strict=True):
            choices.add(choice)
    for choices, options in zip(seen, space.layers, strict=True):
        assert {choice.form for choice in choices} == {"dense", *(form.name for form in options.forms)}
        assert len(choices) > 0.8 * min(len(options), 40)


def test_corners_of_the_cube_are_the_dense_network_and_the_smallest_ranks() -> None:
    space = conv_net(("tucker2", "svd"))
    assert space.decode(np.ones(space.width)) == space.dense
    smallest = space.decode(np.zeros(space.width))
    assert all(set(choice.ranks) == {1} for choice in smallest.values())


def test_a_vector_outside_the_cube_takes_the_nearest_plan() -> None:
    space = conv_net()
    assert space.decode(np.full(space.width, 7.0)) == space.decode(np.ones(space.width))
    assert space.decode(np.full(space.width, -7.0)) == space.decode(np.zeros(space.width))


@pytest.mark.parametrize("bad", ["short", "long", "square", "nan", "inf"])
def test_a_vector_of_the_wrong_length_or_not_finite_is_refused(bad: str) -> None:
    space = tiny()
    vector = np.full(space.width, 0.5)
    if bad in ("nan", "inf"):
        vector[0] = float(bad)
    else:
        vector = {"short": vector[:-1], "long": np.append(vector, 0.5), "square": vector[None]}[bad]
    with pytest.raises(PlanError, match=f"finite vector of length {space.width}"):
        space.decode(vector)


# -- projection --------------------------------------------------------------------------------------------------------


def distances(space: RankSpace, plan: RankPlan) -> list[NDArray[np.float64]]:
    """Per layer, how far each option lies from the plan's: the documented distance, one pair at a time."""
    result = []
    for options in space.layers:
        choices = [options.choice(row) for row in range(len(options))]
        here = plan[options.layer.name]

        def place(choice: Choice, mode: int, among: list[Choice]) -> float:
            if choice == DENSE:
                return 1.0
            offered = sorted({other.ranks[mode] for other in among if other.form == choice.form})
            return (offered.index(choice.ranks[mode]) + 1) / (len(offered) + 1)

        def far(
            there: Choice, here: Choice = here, choices: list[Choice] = choices, table: LayerOptions = options
        ) -> float:
            if DENSE in (here, there) or here.form == there.form:
                modes = max(len(here.ranks), len(there.ranks))
                return sum((place(here, mode, choices) - place(there, mode, choices)) ** 2 for mode in range(modes))
            params = [table.costs[table.index(choice), 0] for choice in (here, there)]
            return FORM_CHANGE + ((params[0] - params[1]) / table.layer.dense_params) ** 2

        result.append(np.array([far(there) for there in choices]))
    return result


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("forms", FORMS)
def test_projection_finds_the_nearest_plan_that_brute_force_finds(forms: tuple[str, ...], budget: Budget) -> None:
    space, rng = tiny(forms), np.random.default_rng(3)
    plans = all_plans(space)
    rows = np.array([space.indices(plan) for plan in plans])
    inside = np.array([within(space, plan, budget) for plan in plans])
    assert inside.any()
    assert not inside.all()
    excess = []
    for start in rng.choice(np.flatnonzero(~inside), size=20):
        table = distances(space, plans[start])
        total = sum(table[layer][rows[:, layer]] for layer in range(len(table)))
        nearest = total[inside].min()
        projected = space.project(plans[start], budget)
        assert within(space, projected, budget)
        found = sum(row[at] for row, at in zip(table, space.indices(projected), strict=True))
        assert found >= nearest - 1e-12
        excess.append(found / nearest - 1)
    assert np.mean(np.array(excess) < 1e-9) >= 0.8
    assert max(excess) < 0.05


def test_with_one_form_per_layer_the_distance_is_that_of_the_vectors() -> None:
    space = tiny()
    plans = all_plans(space)
    for plan in plans[:: len(plans) // 20]:
        total = sum(row[at] for row, at in zip(distances(space, plan), space.indices(plans[7]), strict=True))
        assert total == pytest.approx(np.square(space.encode(plan) - space.encode(plans[7])).sum())


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("forms", FORMS)
def test_projection_leaves_a_plan_within_the_budget_alone(forms: tuple[str, ...], budget: Budget) -> None:
    space = tiny(forms)
    inside = [plan for plan in all_plans(space) if within(space, plan, budget)]
    for plan in inside[:: max(1, len(inside) // 50)]:
        assert space.project(plan, budget) == plan


@pytest.mark.parametrize("budget", [Budget(macs=0.3), Budget(params=0.3), Budget(macs=0.4, params=0.3)], ids=str)
def test_projection_and_random_plans_never_go_over_the_budget_of_a_real_network(budget: Budget) -> None:
    space = RankSpace.from_model(load_model("cifar_resnet20"), torch.randn(1, 3, 32, 32))
    rng = np.random.default_rng(0)
    plans = [space.random_plan(rng, budget) for _ in range(10)]
    plans += [space.project(space.dense, budget), space.project(space.decode(np.full(space.width, 0.9)), budget)]
    for plan in plans:
        space.admit(plan, budget)
    used = [max(space.cost(p)[m] / limit for m, limit in budget.limits(space.dense_cost).items()) for p in plans]
    assert min(used) > 0.9  # a projection goes no further than it must


def test_projection_onto_an_infeasible_budget_is_an_error() -> None:
    space = tiny()
    with pytest.raises(InfeasibleBudgetError, match="no plan of this space meets the budget"):
        space.project(space.dense, Budget(params=2))


# -- random plans ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", FORMS)
def test_the_same_seed_draws_the_same_plans_and_another_seed_others(forms: tuple[str, ...]) -> None:
    def draw(seed: int) -> list[str]:
        space, rng = conv_net(forms), np.random.default_rng(seed)
        return [space.random_plan(rng, Budget(macs=0.6)).to_json() for _ in range(8)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert len(set(draw(1))) > 4


# -- neighbours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", FORMS)
def test_neighbours_are_plans_that_differ_in_exactly_one_layer_and_none_comes_twice(forms: tuple[str, ...]) -> None:
    space, rng = conv_net(forms), np.random.default_rng(4)
    for _ in range(20):
        plan = space.plan(np.array([rng.integers(len(options)) for options in space.layers]))
        around = space.neighbours(plan)
        assert len(set(around)) == len(around)
        for other in around:
            space.indices(other)
            assert sum(plan[name] != other[name] for name in plan) == 1


def test_a_step_within_a_form_goes_to_the_next_offered_rank_of_one_mode() -> None:
    space = conv_net(("tucker2",))
    options = space.layers[0]
    offered = {options.choice(row).ranks for row in range(1, len(options))}
    for ranks in offered:
        plan = RankPlan({"stem": Choice("tucker2", ranks)})
        steps = {p["stem"].ranks for p in space.neighbours(plan) if p["stem"] not in (plan["stem"], DENSE)}
        expected = set()
        for mode in (0, 1):
            line = sorted(other for other in offered if other[1 - mode] == ranks[1 - mode])
            expected |= {b if a == ranks else a for a, b in pairwise(line) if ranks in (a, b)}
        assert steps == expected


def test_a_change_of_form_goes_to_the_option_nearest_in_params() -> None:
    space = conv_net(("tucker2", "cp"))
    options = space.layers[0]
    for row in range(len(options)):
        here = options.choice(row)
        for other in space.neighbours(RankPlan({"stem": here})):
            there = other["stem"]
            if there.form in (here.form, "dense"):
                continue
            gaps = [
                abs(options.costs[r, 0] - options.costs[row, 0])
                for r in range(len(options))
                if options.choice(r).form == there.form
            ]
            assert abs(options.costs[options.index(there), 0] - options.costs[row, 0]) == min(gaps)


@pytest.mark.parametrize("forms", FORMS)
def test_every_plan_can_be_reached_from_every_other_by_steps_to_neighbours(forms: tuple[str, ...]) -> None:
    space = RankSpace.from_model(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, (2, 1)), nn.Conv2d(3, 4, 1)),
        torch.randn(1, 2, 6, 6),
        forms=forms,
    )
    plans = all_plans(space)
    number = {plan: i for i, plan in enumerate(plans)}
    steps = [(i, number[other]) for plan, i in number.items() for other in space.neighbours(plan)]
    starts, ends = zip(*steps, strict=True)
    graph = coo_array((np.ones(len(steps)), (starts, ends)), shape=(len(plans), len(plans)))
    assert len(plans) > 10
    assert connected_components(graph, directed=True, connection="strong")[0] == 1


# -- all plans ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("budget", [*BUDGETS, Budget(macs=1.0)], ids=str)
def test_feasible_plans_are_exactly_those_that_brute_force_finds_each_once(budget: Budget, chunk: int) -> None:
    space = tiny()
    found = list(space.feasible_plans(budget, chunk))
    assert found == [plan for plan in all_plans(space) if within(space, plan, budget)]
    assert len(set(found)) == len(found) > 0


def test_an_infeasible_budget_has_no_plans() -> None:
    assert list(tiny().feasible_plans(Budget(params=2))) == []


def test_the_first_feasible_plans_of_a_large_space_come_at_once() -> None:
    space = RankSpace.from_model(load_model("cifar_resnet20"), torch.randn(1, 3, 32, 32))
    plans = space.feasible_plans(Budget(macs=1.0))
    assert next(plans) == space.dense
    assert next(plans) == RankPlan({"linear": space.layers[-1].choice(1)})
