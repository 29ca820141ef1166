"""The knapsack searcher: its score is the weight error, and its bound holds against every plan of a tiny space."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import linprog
from tiny_task import MACS, PARAMS, TinyNet, all_plans, energy, squared_error, tiny_net, tiny_task

from rank_search.baselines.knapsack import Knapsack
from rank_search.errors import SearcherError
from rank_search.searching import search
from rank_search.space import Budget, RankPlan
from rank_search.space.solver import knapsack
from rank_search.task import Limits

pytestmark = pytest.mark.usefixtures("single_thread")

BUDGETS = [
    *({"macs": bound} for bound in (0.36, 0.45, 0.5, 0.58, 0.7, 0.85, 1.0)),
    *({"params": bound} for bound in (0.35, 0.5, 0.75)),
    {"macs": 0.6, "params": 0.6},
]


def uneven_net() -> TinyNet:
    """The second convolution has 400 times the energy of before, so that the two weightings disagree."""
    net = tiny_net()
    with torch.no_grad():
        net.second.weight.mul_(20)
    return net


def objective(net: TinyNet, plan: RankPlan, weights: str) -> float:
    """The sum over layers of squared errors, each over the layer's energy if relative."""
    return sum(
        squared_error(net, name, choice) / (energy(net, name) if weights == "relative" else 1)
        for name, choice in plan.items()
    )


@pytest.mark.parametrize("weights", ["relative", "none"])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_bound_the_optimum_of_brute_force_and_the_score_stand_in_order(
    budget: dict[str, float], weights: str
) -> None:
    net, dense = uneven_net(), {"macs": MACS, "params": PARAMS}
    optimum = min(
        objective(net, plan, weights)
        for plan, cost in all_plans()
        if all(cost[metric] <= bound * dense[metric] for metric, bound in budget.items())
    )
    result = search(tiny_task(Budget(**budget), net=net), "knapsack", weights=weights)
    assert result.score is not None
    assert result.lower_bound is not None
    assert result.score == pytest.approx(objective(net, result.plan, weights), rel=1e-9, abs=1e-12)
    slack = 1e-9 * max(1, optimum)
    assert result.lower_bound <= optimum + slack
    assert optimum <= result.score + slack
    assert result.score <= 1.1 * optimum + slack


def relaxed_optimum(net: TinyNet, budget: dict[str, float], weights: str) -> float:
    """The linear programme over mixtures of each layer's options: the best bound that multipliers can give."""
    dense, names = {"macs": MACS, "params": PARAMS}, ("first", "second", "head")
    costs = dict(all_plans())
    options = [(name, choice) for name in names for choice in dict.fromkeys(plan[name] for plan in costs)]
    values = [objective(net, RankPlan({name: choice}), weights) for name, choice in options]
    alone = [costs[RankPlan({name: choice})] for name, choice in options]  # all other layers dense
    answer = linprog(
        values,
        A_ub=[[cost[metric] - dense[metric] for cost in alone] for metric in budget],
        b_ub=[math.floor(bound * dense[metric]) - dense[metric] for metric, bound in budget.items()],
        A_eq=[[float(name == layer) for name, _ in options] for layer in names],
        b_eq=[1, 1, 1],
    )
    assert answer.success
    return float(answer.fun)


@pytest.mark.parametrize("weights", ["relative", "none"])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_bound_is_the_optimum_under_one_metric_and_that_of_the_relaxed_problem_under_two(
    budget: dict[str, float], weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knapsack, "few", lambda values: False)  # this network's plans could be enumerated
    net = uneven_net()
    result = search(tiny_task(Budget(**budget), net=net), "knapsack", weights=weights)
    relaxed = relaxed_optimum(net, budget, weights)
    if len(budget) == 1:
        assert result.lower_bound == result.score
        assert relaxed <= result.lower_bound * (1 + 1e-6) + 1e-9
    else:
        assert result.lower_bound == pytest.approx(relaxed, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_plans_of_a_small_space_are_enumerated_and_the_bound_is_the_optimum(budget: dict[str, float]) -> None:
    net = uneven_net()
    result = search(tiny_task(Budget(**budget), net=net), "knapsack")
    optimum = min(
        objective(net, plan, "relative")
        for plan, cost in all_plans()
        if all(
            cost[metric] <= math.floor(bound * {"macs": MACS, "params": PARAMS}[metric])
            for metric, bound in budget.items()
        )
    )
    assert result.lower_bound == result.score == pytest.approx(optimum, rel=1e-9, abs=1e-12)


def test_the_score_is_the_tasks_weight_error() -> None:
    for bound in (0.4, 0.55, 0.8):
        task = tiny_task(Budget(macs=bound))
        result = search(task, "knapsack")
        assert result.score == pytest.approx(task.weight_error(result.plan), rel=1e-12)


def test_the_two_weightings_choose_differently_where_energies_differ() -> None:
    net = uneven_net()
    relative, none = (
        search(tiny_task(Budget(macs=0.58), net=net), "knapsack", weights=weights).plan
        for weights in ("relative", "none")
    )
    assert relative != none
    assert objective(net, none, "none") < objective(net, relative, "none")
    assert objective(net, relative, "relative") < objective(net, none, "relative")
    assert squared_error(net, "second", none["second"]) < squared_error(net, "second", relative["second"])


def test_with_room_for_everything_the_dense_network_is_kept_at_no_error() -> None:
    result = search(tiny_task(Budget(macs=1.0)), "knapsack")
    assert result.plan == RankPlan({})
    assert (result.score, result.lower_bound) == (0, 0)


def test_it_takes_one_step_every_decomposition_once_and_no_data() -> None:
    with_data, without = search(tiny_task(), "knapsack"), search(tiny_task(data=False), "knapsack")
    assert (with_data.plan, with_data.score, with_data.lower_bound) == (
        without.plan,
        without.score,
        without.lower_bound,
    )
    assert (len(without.trials), without.ended) == (1, "done")
    counts = ("evaluations", "samples_forward", "samples_trained", "decompositions")
    assert [with_data.meter[name] for name in counts] == [0, 0, 0, 3]
    cp_too = search(tiny_task(forms=("tucker2", "cp", "svd"), data=False), "knapsack")
    assert cp_too.meter["decompositions"] == 5
    assert cp_too.score is not None
    assert without.score is not None
    assert cp_too.score <= without.score


def test_too_few_decompositions_end_it_without_a_plan() -> None:
    with pytest.raises(SearcherError, match="decompositions would pass the limit of 2"):
        search(tiny_task(), "knapsack", Limits(decompositions=2))


def test_a_finished_searcher_is_restored_as_finished() -> None:
    first, second = Knapsack(tiny_task(), seed=0), Knapsack(tiny_task(), seed=1)
    assert not first.done
    proposal = first.step()
    second.load_state_dict(first.state_dict())
    assert second.done
    assert Knapsack(tiny_task(), seed=1).step() == proposal
