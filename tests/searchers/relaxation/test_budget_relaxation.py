"""The relaxation under a budget: the multipliers, p, its entropy; and its plans against proven optima."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from mixed_net import columns_of, mixed_net, mixed_space
from scipy.optimize import LinearConstraint, milp
from tiny_task import all_plans, energy, squared_error, tiny_task

from rank_search import Task
from rank_search.searchers.relaxation.budget_relaxation import BudgetRelaxation, entropy
from rank_search.searchers.relaxation.nested_mixture import LayerMixture
from rank_search.searching import make_searcher, run_search
from rank_search.space import Budget, RankSpace
from rank_search.states import load_state, save_state

pytestmark = pytest.mark.usefixtures("single_thread")
ROUNDS, ITERATIONS = 24, 12
BOTH = Budget(params=0.5, macs=0.5)
BUDGETS = (Budget(macs=0.7), Budget(macs=0.5), Budget(macs=0.35), Budget(params=0.5), BOTH)
FORMS = (("tucker2", "svd"), ("tucker2", "svd", "svd_spatial", "svd_grouped"), ("tensor_train", "svd", "svd_channel"))
SEEDS = range(6)


def relaxation_of(space: RankSpace, budget: Budget, rounds: int = ROUNDS) -> BudgetRelaxation:
    mixtures = [LayerMixture(options, columns_of(budget)) for options in space.layers]
    return BudgetRelaxation(space, budget, mixtures, rounds, ITERATIONS)


def expected_costs(space: RankSpace, budget: Budget, relaxation: BudgetRelaxation) -> list[float]:
    """Per bounded metric what p costs on average, over what the budget leaves the layers."""
    limits, found = budget.limits(space.dense_cost), []
    for metric, column in zip(budget.metrics, columns_of(budget), strict=True):
        spent = 0.0
        for options, p in zip(space.layers, relaxation.probabilities, strict=True):
            rows = LayerMixture(options, columns_of(budget)).rows
            spent += math.fsum(float(q) * int(options.costs[row, column]) for q, row in zip(p, rows, strict=True))
        dense = sum(int(options.costs[0, column]) for options in space.layers)
        found.append(spent / (limits[metric] - (space.dense_cost[metric] - dense)))
    return found


def optimum(space: RankSpace, budget: Budget) -> float:
    """The least sum of relative errors within the budget, proven by HiGHS."""
    layer = np.repeat(np.arange(len(space.layers)), [len(options) for options in space.layers])
    errors = np.concatenate([options.errors / options.energy for options in space.layers])
    costs = np.concatenate([options.costs[:, columns_of(budget)] for options in space.layers]).astype(float)
    limits = budget.limits(space.dense_cost)
    room = np.array([limits[metric] - space.fixed_cost[metric] for metric in budget.metrics], dtype=float)
    finite = np.isfinite(errors)
    one_each = (layer[None, finite] == np.arange(len(space.layers))[:, None]).astype(float)
    answer = milp(
        errors[finite],
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint((costs[finite] / room).T, -np.inf, 1)],
        integrality=np.ones(int(finite.sum())),
        options={"mip_rel_gap": 0},
    )
    assert answer.status == 0
    return float(answer.fun)


# -- plans -------------------------------------------------------------------------------------------------------------


def test_the_polished_plan_of_small_networks_is_within_a_hundredth_of_the_proven_optimum() -> None:
    best, last = [], []
    for seed in SEEDS:
        net = mixed_net(seed)
        space = mixed_space(net, FORMS[seed % len(FORMS)])
        for budget in BUDGETS:
            result = run_search(make_searcher(Task(net, space, budget), "relaxation", 0))
            proven = optimum(space, budget)
            if len(budget.metrics) == 1:
                assert proven == pytest.approx(space.minimise(space.relative_errors(), budget).value, rel=1e-6)
            assert result.score is not None
            best.append(result.score / proven - 1)
            last.append((result.trials[-1].score or 0.0) / proven - 1)
    assert len(best) == len(SEEDS) * len(BUDGETS) >= 20
    assert min(best) > -1e-6
    assert max(best) < 0.01
    # a round alone may end beside the optimum: the search answers with the best of all
    assert np.mean(last) < 0.02
    assert np.mean(np.array(last) < 0.01) > 0.75


@pytest.mark.parametrize("budget", [Budget(macs=0.7), Budget(params=0.6), Budget(params=0.7, macs=0.6)], ids=str)
def test_in_a_tiny_network_it_finds_the_best_of_all_plans(budget: Budget) -> None:
    task = tiny_task(budget)
    limits = budget.limits(task.space.dense_cost)
    least = math.inf
    for plan, cost in all_plans():
        if all(cost[metric] <= limit for metric, limit in limits.items()):
            lost = sum(squared_error(task.model, name, c) / energy(task.model, name) for name, c in plan.items())
            least = min(least, lost)
    assert math.isfinite(least)
    result = run_search(make_searcher(task, "relaxation", 0))
    assert result.score == pytest.approx(least, rel=0.01)
    assert result.score is not None
    assert result.score >= least * (1 - 1e-6)


# -- p and the multipliers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_p_is_a_probability_of_every_layer_after_every_round(budget: Budget) -> None:
    relaxation = relaxation_of(mixed_space(mixed_net(3), FORMS[1]), budget)
    for _ in range(ROUNDS):
        relaxation.run_round()
        for p in relaxation.probabilities:
            assert (p >= 0).all()
            assert p.sum() == pytest.approx(1, abs=1e-12)
        assert (relaxation.multiplier >= 0).all()
        assert np.isfinite(relaxation.multiplier).all()


def test_before_the_first_round_p_is_uniform() -> None:
    space = mixed_space(mixed_net(0), FORMS[0])
    relaxation = relaxation_of(space, BOTH)
    for p in relaxation.probabilities:
        assert p.tolist() == pytest.approx([1 / len(p)] * len(p))
    assert relaxation.entropies == pytest.approx([1.0] * len(space.layers))
    assert relaxation.multiplier.tolist() == [0, 0]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_violation_is_how_far_costs_are_from_where_an_optimum_has_them(budget: Budget) -> None:
    space = mixed_space(mixed_net(1), FORMS[0])
    relaxation = relaxation_of(space, budget)
    for _ in range(6):
        found = zip(expected_costs(space, budget, relaxation), relaxation.multiplier, strict=True)
        off = [abs(cost - 1) if multiplier > 0 else max(0.0, cost - 1) for cost, multiplier in found]
        assert relaxation.violation == pytest.approx(max(off), abs=1e-12)
        relaxation.run_round()


@pytest.mark.parametrize("budget", [Budget(macs=1.0), Budget(params=1.0), Budget(params=1.0, macs=1.0)], ids=str)
def test_a_budget_that_does_not_bind_leaves_every_layer_dense_and_the_multipliers_at_zero(budget: Budget) -> None:
    space = mixed_space(mixed_net(0), FORMS[0])
    relaxation = relaxation_of(space, budget)
    for _ in range(ROUNDS):
        relaxation.run_round()
    assert relaxation.multiplier.tolist() == [0.0] * len(budget.metrics)
    assert relaxation.rows.tolist() == [0] * len(space.layers)
    assert all(p[0] > 0.999 for p in relaxation.probabilities)
    assert relaxation.violation == 0


def test_of_two_metrics_only_the_one_that_binds_has_a_price() -> None:
    space = mixed_space(mixed_net(0), FORMS[0])
    budget = Budget(params=1.0, macs=0.5)
    relaxation = relaxation_of(space, budget)
    for _ in range(ROUNDS // 2):
        relaxation.run_round()
    params, macs = relaxation.multiplier
    assert params == 0
    assert macs > 0.01


def test_where_the_budget_binds_the_expected_cost_ends_within_a_hundredth_of_it() -> None:
    off = {}
    for seed in SEEDS:
        space = mixed_space(mixed_net(seed), FORMS[0])
        for budget in BUDGETS[:4]:
            relaxation = relaxation_of(space, budget)
            for _ in range(ROUNDS):
                relaxation.run_round()
            (cost,) = expected_costs(space, budget, relaxation)
            if abs(cost - 1) > 0.01:
                off[seed, str(budget)] = round(cost, 3)
    assert not off


# -- temperature and entropy -------------------------------------------------------------------------------------------


def test_t_rises_to_one_at_four_fifths_of_the_rounds_and_tau_falls_geometrically() -> None:
    relaxation = relaxation_of(mixed_space(mixed_net(0), FORMS[0]), BUDGETS[0], rounds=6)
    found = []
    for _ in range(6):
        found.append(relaxation.schedule)
        relaxation.run_round()
    ts, taus = zip(*found, strict=True)
    assert ts == pytest.approx((0, 0.25, 0.5, 0.75, 1, 1))
    assert taus == pytest.approx([10 ** -(1 + 4 * done / 5) for done in range(6)])
    assert relaxation.schedule == pytest.approx((1, 1e-5))
    assert relaxation.round == 6


def test_the_entropy_is_minus_p_log_p_over_the_logarithm_of_the_number_of_options() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 5, 60):
        p = rng.dirichlet(np.full(count, 0.5))
        assert entropy(p) == pytest.approx(-sum(q * math.log(q) for q in p if q > 0) / math.log(count))
    assert entropy(np.full(8, 1 / 8)) == pytest.approx(1)
    assert entropy(np.array([0.0, 1.0, 0.0])) == 0
    assert entropy(np.array([1.0])) == 0
    relaxation = relaxation_of(mixed_space(mixed_net(0), FORMS[0]), BUDGETS[0])
    relaxation.run_round()
    assert relaxation.entropies == [entropy(p) for p in relaxation.probabilities]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_entropy_falls_from_near_one_to_near_zero(budget: Budget) -> None:
    relaxation, means = relaxation_of(mixed_space(mixed_net(2), FORMS[0]), budget), []
    for _ in range(ROUNDS):
        relaxation.run_round()
        means.append(float(np.mean(relaxation.entropies)))
    assert means[0] > 0.6
    assert means[-1] < 0.1
    assert np.mean(means[:8]) > np.mean(means[8:16]) > np.mean(means[16:])


def test_the_rows_are_the_most_probable_options() -> None:
    space = mixed_space(mixed_net(2), FORMS[1])
    relaxation = relaxation_of(space, BUDGETS[1])
    for _ in range(8):
        relaxation.run_round()
        for options, p, row in zip(space.layers, relaxation.probabilities, relaxation.rows, strict=True):
            rows = LayerMixture(options, [1]).rows.tolist()
            assert p[rows.index(row)] == p.max()


# -- state -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [BUDGETS[1], BOTH], ids=str)
def test_from_a_saved_state_it_goes_on_to_the_same_bits_after_any_round(budget: Budget, tmp_path: Path) -> None:
    space = mixed_space(mixed_net(4), FORMS[0])
    whole, states = relaxation_of(space, budget, rounds=6), []
    for done in range(6):
        save_state(tmp_path / f"{done}.safetensors", whole.state_dict())
        states.append(tmp_path / f"{done}.safetensors")
        whole.run_round()
    for done, path in enumerate(states):
        resumed = relaxation_of(space, budget, rounds=6)
        resumed.load_state_dict(load_state(path))
        assert resumed.round == done
        for _ in range(6 - done):
            resumed.run_round()
        assert resumed.multiplier.tolist() == whole.multiplier.tolist()
        for one, other in zip(resumed.probabilities, whole.probabilities, strict=True):
            assert np.array_equal(one, other)


def test_two_runs_are_the_same() -> None:
    found = []
    for _ in range(2):
        relaxation = relaxation_of(mixed_space(mixed_net(5), FORMS[1]), BOTH)
        for _ in range(5):
            relaxation.run_round()
        found.append((relaxation.rows.tolist(), relaxation.multiplier.tolist()))
    assert found[0] == found[1]
