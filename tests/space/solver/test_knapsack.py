"""The knapsack: against the enumeration of every selection and against HiGHS."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, milp

from rank_search.space.solver import knapsack
from rank_search.space.solver.finish import finish
from rank_search.space.solver.knapsack import Solution, improve, solve

Floats = NDArray[np.float64]


@pytest.fixture(params=[True, False], ids=["enumerated", "bounded"], autouse=True)
def _small_instances(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small instances are enumerated, and solved as large ones are."""
    if not request.param:
        monkeypatch.setattr(knapsack, "few", lambda values: False)


Instance = tuple[list[Floats], list[Floats], Floats]


def brute_force(values: list[Floats], costs: list[Floats], capacity: Floats) -> float | None:
    """The least value of all selections within the capacity."""
    total, spent = np.zeros(1), np.zeros((1, len(capacity)))
    for value, cost in zip(values, costs, strict=True):
        total = (total[:, None] + value).ravel()
        spent = (spent[:, None] + cost).reshape(-1, len(capacity))
    inside = (spent <= capacity).all(1) & np.isfinite(total)
    return float(total[inside].min()) if inside.any() else None


def by_milp(values: list[Floats], costs: list[Floats], capacity: Floats) -> float:
    """The proven optimum."""
    counts = [len(value) for value in values]
    layer = np.repeat(np.arange(len(counts)), counts)
    one_each = (layer[None, :] == np.arange(len(counts))[:, None]).astype(float)
    answer = milp(
        np.concatenate(values),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(np.concatenate(costs).T, -np.inf, capacity),
        ],
        integrality=np.ones(len(layer)),
        options={"mip_rel_gap": 0},
    )
    assert answer.status == 0
    return float(answer.fun)


def check(instance: Instance, found: Solution) -> None:
    """The selection is what it says it is, and within the capacity."""
    values, costs, capacity = instance
    assert len(found.indices) == len(values)
    spent = sum(cost[row] for cost, row in zip(costs, found.indices, strict=True))
    total = sum(value[row] for value, row in zip(values, found.indices, strict=True))
    assert (spent <= capacity).all()
    assert np.isfinite(total)
    assert found.value == pytest.approx(total, rel=1e-12, abs=1e-12)
    assert found.lower_bound <= found.value


def random_instance(kind: str, metrics: int, seed: int) -> Instance:
    """A few layers: values without a pattern, falling convexly in cost as spectra do, or nearly linear in cost."""
    rng = np.random.default_rng([seed, metrics])
    values, costs = [], []
    for _ in range(rng.integers(1, 6)):
        options = int(rng.integers(1, 8))
        if kind == "convex":
            kept = rng.random(options)
            cost = np.rint(50 * kept)[:, None] + rng.integers(0, 4, (options, metrics))
            value = np.square(1 - kept) * rng.random()
        else:
            cost = rng.integers(0, 50, (options, metrics)).astype(float)
            value = rng.random(options) if kind == "any" else 100 - cost.sum(1) + 5 * rng.random(options)
        values.append(value)
        costs.append(cost)
    least, most = sum(cost.min(0) for cost in costs), sum(cost.max(0) for cost in costs)
    return values, costs, np.floor(least + rng.random(metrics) * (most - least))


def spectral_instance(layers: int, metrics: int, seed: int) -> Instance:
    """Layers like those of a network: tails of decaying spectra, costs of very different sizes."""
    rng = np.random.default_rng([seed, metrics])
    values, costs = [], []
    for _ in range(layers):
        ranks = int(rng.integers(20, 50))
        tail = np.cumsum(np.sort(rng.random(ranks) * np.exp(-np.arange(ranks) / 8)))[::-1]
        price = rng.integers(100, 20_000, metrics)
        values.append(np.concatenate([[0.0], tail]))
        costs.append(np.concatenate([[ranks * price + 7], np.arange(ranks)[:, None] * price]).astype(float))
    return values, costs, np.floor(0.4 * sum(cost[0] for cost in costs))


@pytest.mark.parametrize("kind", ["any", "convex", "linear"])
def test_with_one_metric_it_finds_and_proves_the_optimum_of_small_instances(kind: str) -> None:
    for seed in range(100):
        instance = random_instance(kind, 1, seed)
        best, found = brute_force(*instance), solve(*instance)
        assert best is not None  # the capacity is never below the cheapest selection
        assert found is not None
        check(instance, found)
        assert found.value == pytest.approx(best, rel=1e-9, abs=1e-12)
        assert found.lower_bound == found.value


@pytest.mark.parametrize("kind", ["any", "convex", "linear"])
def test_the_finish_returns_the_optimum_for_every_multiplier_and_nothing_when_nothing_is_better(kind: str) -> None:
    for seed in range(40):
        values, costs, capacity = random_instance(kind, 1, seed)
        best = brute_force(values, costs, capacity)
        assert best is not None
        flat = [cost[:, 0] for cost in costs]
        for multiplier in (0.0, 0.01, 1.0):
            found = finish(values, flat, float(capacity[0]), multiplier, best + 1.0)
            assert found is not None
            total = sum(value[row] for value, row in zip(values, found, strict=True))
            assert total == pytest.approx(best, rel=1e-9, abs=1e-12)
            assert sum(cost[row] for cost, row in zip(flat, found, strict=True)) <= capacity[0]
            nothing = finish(values, flat, float(capacity[0]), multiplier, best)
            assert nothing is not None
            assert len(nothing) == 0


def test_too_many_states_leave_the_heuristic_answer_with_the_dual_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = spectral_instance(15, 1, 0)
    exact = solve(*instance)
    monkeypatch.setattr("rank_search.space.solver.finish.MAX_STATES", 0)
    found = solve(*instance)
    assert exact is not None
    assert found is not None
    check(instance, found)
    assert found.lower_bound < exact.value <= found.value < 1.01 * exact.value


@pytest.mark.parametrize("kind", ["any", "convex", "linear"])
def test_with_two_metrics_it_nearly_always_finds_the_optimum_of_small_instances(kind: str) -> None:
    gaps, feasible, missed = [], 0, 0
    for seed in range(100):
        instance = random_instance(kind, 2, seed)
        best, found = brute_force(*instance), solve(*instance)
        feasible += best is not None
        if found is None:
            missed += best is not None
            continue
        assert best is not None
        check(instance, found)
        assert found.lower_bound <= best + 1e-9 * abs(best)
        gaps.append((found.value - best) / max(best, 1e-9))
    assert feasible > 70
    assert missed <= 2  # feasibility under two metrics is itself NP-hard
    assert np.mean(np.array(gaps) < 1e-9) > 0.9
    assert np.mean(gaps) < 5e-3


@pytest.mark.parametrize("metrics", [1, 2])
def test_a_mid_size_instance_is_solved_within_a_thousandth_of_the_optimum_that_highs_proves(metrics: int) -> None:
    for seed in range(3):
        instance = spectral_instance(15, metrics, seed)
        best, found = by_milp(*instance), solve(*instance)
        assert found is not None
        check(instance, found)
        assert best * (1 - 1e-9) <= found.value <= best * (1.001 if metrics > 1 else 1 + 1e-9)
        assert best * 0.99 <= found.lower_bound <= best * (1 + 1e-9)


@pytest.mark.parametrize("metrics", [1, 2])
def test_the_same_instance_gives_the_same_answer_whatever_the_unit_of_its_values(metrics: int) -> None:
    values, costs, capacity = spectral_instance(6, metrics, 3)
    plain = solve(values, costs, capacity)
    assert plain is not None
    for unit in (1.0, 2.0**-60, 2.0**60, 1e-200, 1e150):
        scaled = solve([value * unit for value in values], costs, capacity)
        assert scaled is not None
        assert scaled.indices.tolist() == plain.indices.tolist()
        assert scaled.lower_bound == pytest.approx(plain.lower_bound * unit)


def test_costs_of_any_size_stay_within_the_capacity() -> None:
    values, costs, capacity = spectral_instance(6, 1, 4)
    large = [cost * 1e9 for cost in costs]
    found, plain = solve(values, large, capacity * 1e9), solve(values, costs, capacity)
    assert found is not None
    assert plain is not None
    check((values, large, capacity * 1e9), found)
    assert found.value == pytest.approx(plain.value, rel=1e-3)


def test_everything_that_fits_is_free() -> None:
    values, costs, _ = spectral_instance(4, 2, 0)
    found = solve(values, costs, sum(cost[0] for cost in costs))
    assert found is not None
    assert found.value == found.lower_bound == 0
    assert found.indices.tolist() == [0, 0, 0, 0]


def array(*rows: Any) -> Floats:
    return np.array(rows, dtype=np.float64)


def test_zero_capacity_takes_the_options_that_cost_nothing() -> None:
    values, costs = [array(0, 1, 5)] * 3, [array([10**9], [10**8], [0])] * 3
    found = solve(values, costs, array(0))
    assert found is not None
    assert found.indices.tolist() == [2, 2, 2]
    assert found.value == 15
    assert found.lower_bound == pytest.approx(15)


@pytest.mark.parametrize("capacity", [array(5), array(-1), array(5, 100), array(100, 5)])
def test_without_a_feasible_selection_there_is_no_answer(capacity: Floats) -> None:
    cost = array([9, 9], [3, 3])[:, : len(capacity)]
    assert solve([array(0, 1), array(0, 1)], [cost, cost], capacity) is None


def test_two_metrics_that_pull_apart_can_be_infeasible_together() -> None:
    cost = array([0, 9], [9, 0])
    values = [array(0, 1), array(0, 1)]
    assert solve(values, [cost, cost], array(8, 8)) is None
    found = solve(values, [cost, cost], array(9, 9))
    assert found is not None
    assert sorted(found.indices.tolist()) == [0, 1]


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("metrics", [1, 2])
def test_an_option_without_a_finite_value_is_never_chosen(metrics: int, bad: float) -> None:
    rng = np.random.default_rng(5)
    for seed in range(40):
        values, costs, capacity = random_instance("any", metrics, seed)
        values = [np.where(rng.random(len(value)) < 0.4, bad, value) for value in values]
        found = solve(values, costs, capacity)
        best = brute_force([np.where(np.isfinite(value), value, np.inf) for value in values], costs, capacity)
        if found is not None:
            check((values, costs, capacity), found)
        if metrics == 1:
            assert (found is None) == (best is None)
        if found is not None and best is not None:
            assert best - 1e-9 <= found.value <= best * 1.03 + 1e-9


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_layer_without_an_allowed_option_leaves_no_answer(position: int) -> None:
    values = [array(0, 1), array(0, 1), array(0, 1)]
    values[position] = array(np.inf, np.inf)
    assert solve(values, [array([2], [1])] * 3, array(100)) is None


@pytest.mark.parametrize("metrics", [1, 2])
def test_values_of_any_sign_are_allowed(metrics: int) -> None:
    for seed in range(20):
        values, costs, capacity = random_instance("any", metrics, seed)
        shifted = [value - 10 for value in values]
        found, plain = solve(shifted, costs, capacity), solve(values, costs, capacity)
        assert (found is None) == (plain is None)
        if found is not None and plain is not None:
            check((shifted, costs, capacity), found)
            assert found.value == pytest.approx(plain.value - 10 * len(values))
            assert found.lower_bound == pytest.approx(plain.lower_bound - 10 * len(values))


@pytest.mark.parametrize("metrics", [1, 2])
def test_copies_of_options_and_options_worse_in_all_ways_change_nothing(metrics: int) -> None:
    for seed in range(20):
        values, costs, capacity = random_instance("convex", metrics, seed)
        plain = solve(values, costs, capacity)
        more = solve(
            [np.concatenate([value, value, value + 1]) for value in values],
            [np.concatenate([cost, cost, cost + 1]) for cost in costs],
            capacity,
        )
        assert (more is None) == (plain is None)
        if more is not None and plain is not None:
            assert more.value == pytest.approx(plain.value, rel=0.01, abs=1e-12)
            assert all(row < 2 * len(value) for row, value in zip(more.indices, values, strict=True))


def test_layers_with_a_single_option_are_kept_as_they_are() -> None:
    found = solve([array(3), array(0, 1), array(2)], [array([5]), array([9], [1]), array([4])], array(10))
    assert found is not None
    assert found.indices.tolist() == [0, 1, 0]
    assert found.value == 6


def test_equal_values_with_one_metric_take_the_cheapest_option_if_nothing_else_fits() -> None:
    found = solve([np.zeros(4)] * 3, [array([8], [3], [5], [4])] * 3, array(9))
    assert found is not None
    assert found.indices.tolist() == [1, 1, 1]
    assert found.value == found.lower_bound == 0


def test_two_tight_capacities_at_once_are_met_whenever_they_can_be() -> None:
    rng = np.random.default_rng(11)
    for _ in range(150):
        sizes = rng.integers(2, 6, rng.integers(2, 5))
        values = [rng.random(size) for size in sizes]
        costs = [rng.integers(1, 30, (size, 2)).astype(float) for size in sizes]
        some = [cost[rng.integers(len(cost))] for cost in costs]
        capacity = np.sum(some, axis=0)
        solution = solve(values, costs, capacity)
        assert solution is not None
        assert (sum(cost[i] for cost, i in zip(costs, solution.indices, strict=True)) <= capacity).all()


# -- improving a given selection ---------------------------------------------------------------------------------------


def drawn_start(instance: Instance, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 7]).integers([len(value) for value in instance[0]])


def totals(instance: Instance, rows: NDArray[np.int64]) -> tuple[float, Floats]:
    value = float(sum(layer[row] for layer, row in zip(instance[0], rows, strict=True)))
    return value, np.sum([cost[row] for cost, row in zip(instance[1], rows, strict=True)], axis=0)


@pytest.mark.parametrize("kind", ["any", "convex", "linear"])
@pytest.mark.parametrize("metrics", [1, 2])
def test_an_improved_selection_fits_and_is_never_worse_than_a_start_that_fits(kind: str, metrics: int) -> None:
    fitting = over = 0
    for seed in range(100):
        instance = random_instance(kind, metrics, seed)
        start = drawn_start(instance, seed)
        before, spent = totals(instance, start)
        fits = bool((spent <= instance[2]).all())
        found = improve(*instance, start, np.zeros(metrics))
        fitting, over = fitting + fits, over + (not fits)
        if found is None:  # several capacities at once: greedy repair may fail
            assert metrics > 1
            assert not fits
            continue
        after, spent = totals(instance, found)
        assert (spent <= instance[2]).all()
        assert not fits or after <= before + 1e-12
    assert min(fitting, over) > 10


@pytest.mark.parametrize(("metrics", "exact", "gap"), [(1, 0.7, 0.05), (2, 0.6, 0.1)])
def test_from_any_start_it_is_near_the_optimum_of_small_instances(metrics: int, exact: float, gap: float) -> None:
    gaps = []
    for seed in range(150):
        instance = random_instance("convex", metrics, seed)
        found = improve(*instance, drawn_start(instance, seed), np.full(metrics, 1.0))
        if found is not None:
            best = brute_force(*instance) or 0.0
            gaps.append((totals(instance, found)[0] - best) / max(best, 1e-2))
    assert min(gaps) > -1e-9
    assert len(gaps) > 100
    assert np.mean(np.array(gaps) < 1e-9) > exact
    assert np.mean(gaps) < gap


@pytest.mark.parametrize("metrics", [1, 2])
def test_no_change_of_one_or_two_layers_betters_what_it_returns(metrics: int) -> None:
    for seed in range(40):
        instance = random_instance("any", metrics, seed)
        found = improve(*instance, drawn_start(instance, seed), np.ones(metrics))
        if found is None:
            continue
        changes = [(layer, row) for layer, options in enumerate(instance[0]) for row in range(len(options))]
        for (one, a), (other, b) in itertools.product(changes, repeat=2):
            changed = found.copy()
            changed[[one, other]] = a, b
            total, cost = totals(instance, changed)
            assert total >= totals(instance, found)[0] - 1e-9 or (cost > instance[2]).any()


@pytest.mark.parametrize("metrics", [1, 2])
@pytest.mark.parametrize("room", [5, 9, 11])
def test_a_start_that_others_beat_leads_to_the_optimum_of_two_layers(metrics: int, room: int) -> None:
    costs = [array([9, 9], [3, 3], [4, 4])[:, :metrics], array([8, 8], [2, 2], [6, 6])[:, :metrics]]
    instance = [array(0, 1, 5), array(0, 2, 2)], costs, array(*[room] * metrics)
    found = improve(*instance, np.array([2, 2]), np.ones(metrics))
    assert found is not None
    assert (totals(instance, found)[1] <= room).all()
    assert totals(instance, found)[0] == brute_force(*instance)


@pytest.mark.parametrize("metrics", [1, 2])
def test_a_forbidden_option_is_never_taken(metrics: int) -> None:
    rng = np.random.default_rng(9)
    for seed in range(60):
        values, costs, capacity = random_instance("any", metrics, seed)
        start = drawn_start((values, costs, capacity), seed)
        for layer, value in enumerate(values):
            kept = (rng.random(len(value)) > 0.4) | (np.arange(len(value)) == start[layer])
            values[layer] = np.where(kept, value, np.inf)
        found = improve(values, costs, capacity, start, np.ones(metrics))
        assert found is None or np.isfinite(totals((values, costs, capacity), found)[0])


@pytest.mark.parametrize(("metrics", "allowed"), [(1, 0.02), (2, 0.05)])
def test_from_dense_it_comes_near_the_optimum_again_and_again_and_changes_nothing(metrics: int, allowed: float) -> None:
    for seed in range(3):
        instance, untouched = (spectral_instance(12, metrics, seed) for _ in range(2))
        found, again = (improve(*instance, np.zeros(12, np.int64), np.full(metrics, 5.0)) for _ in range(2))
        assert found is not None
        assert np.array_equal(found, again)
        assert all(map(np.array_equal, instance[0] + instance[1], untouched[0] + untouched[1]))
        value, spent = totals(instance, found)
        assert (spent <= instance[2]).all()
        assert -1e-9 <= value / by_milp(*instance) - 1 <= allowed
