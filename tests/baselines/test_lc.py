"""LC: the compression step against an enumeration of alpha, and the pull of the penalty on a small task."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from tiny_task import MACS, all_plans, squared_error, tiny_task

from rank_search.arrays import FloatArray, IntArray
from rank_search.baselines.lc import LC, compression_step
from rank_search.errors import DataError, InfeasibleBudgetError, InvalidInputError
from rank_search.searching import make_searcher, search
from rank_search.space import Budget
from rank_search.task import Task
from rank_search.testing.small_task import small_task

pytestmark = pytest.mark.usefixtures("single_thread")

COSTS = dict(all_plans())
NAMES = ("first", "second", "head")


def breakpoints(values: list[FloatArray], costs: list[FloatArray], mu: float) -> list[float]:
    """Every alpha at which some layer's order of two options changes."""
    found = {0.0}
    for value, cost in zip(values, costs, strict=True):
        for i, j in itertools.permutations(range(len(value)), 2):
            if cost[i] > cost[j] and math.isfinite(value[i]) and math.isfinite(value[j]):
                found.add(max(0.0, mu / 2 * (value[j] - value[i]) / (cost[i] - cost[j])))
    return sorted(found)


def selection(values: list[FloatArray], costs: list[FloatArray], mu: float, alpha: float) -> list[int]:
    return [int(np.argmin(alpha * cost + mu / 2 * value)) for value, cost in zip(values, costs, strict=True)]


def random_case(seed: int) -> tuple[list[FloatArray], list[FloatArray], float, float]:
    rng = np.random.default_rng(seed)
    values, costs = [], []
    for _ in range(4):
        count = int(rng.integers(1, 9))
        values.append(np.concatenate([[0.0], rng.uniform(0, 3, count)]))
        costs.append(np.concatenate([[1.0], rng.uniform(0.02, 0.99, count)]))
    least, most = sum(cost.min() for cost in costs), 4.0
    return values, costs, float(rng.choice([0.01, 1, 50])), least + float(rng.uniform(0, 1)) * (most - least)


@pytest.mark.parametrize("seed", range(30))
def test_the_selection_is_that_of_the_smallest_alpha_that_fits(seed: int) -> None:
    values, costs, mu, limit = random_case(seed)

    def spent(rows: list[int]) -> float:
        return sum(float(cost[row]) for cost, row in zip(costs, rows, strict=True))

    def fits(rows: IntArray) -> bool:
        return spent([int(row) for row in rows]) <= limit

    points = breakpoints(values, costs, mu)
    middles = [(low + high) / 2 for low, high in itertools.pairwise([*points, points[-1] * 2 + 1])]
    place = next(i for i, alpha in enumerate(middles) if spent(selection(values, costs, mu, alpha)) <= limit)
    rows, alpha = compression_step(values, costs, mu, fits)
    assert fits(rows)
    assert [int(row) for row in rows] == selection(values, costs, mu, middles[place])
    assert alpha == pytest.approx(points[place], rel=1e-6, abs=1e-9)
    total = alpha * spent([int(row) for row in rows]) + mu / 2 * sum(v[r] for v, r in zip(values, rows, strict=True))
    best = sum(float((alpha * cost + mu / 2 * value).min()) for value, cost in zip(values, costs, strict=True))
    assert total == pytest.approx(best, rel=1e-9, abs=1e-12)


def test_with_room_for_everything_alpha_is_nothing_and_nothing_is_lost() -> None:
    values, costs, mu, _ = random_case(0)
    rows, alpha = compression_step(values, costs, mu, lambda rows: True)
    assert alpha == 0
    assert rows.tolist() == [0] * len(values)


def test_a_budget_of_the_cheapest_options_gives_them() -> None:
    values, costs, mu, _ = random_case(3)
    least = [int(np.argmin(cost)) for cost in costs]
    rows, _ = compression_step(values, costs, mu, lambda rows: rows.tolist() == least)
    assert rows.tolist() == least


def test_what_no_alpha_can_meet_is_infeasible() -> None:
    values, costs, mu, _ = random_case(1)
    with pytest.raises(InfeasibleBudgetError):
        compression_step(values, costs, mu, lambda rows: False)


def test_options_without_a_fit_are_never_selected() -> None:
    values = [np.array([0.0, 1.0, math.inf]), np.array([0.0, math.inf, 2.0])]
    costs = [np.array([1.0, 0.5, 0.1]), np.array([1.0, 0.2, 0.4])]

    def fits(rows: IntArray) -> bool:
        return sum(float(cost[row]) for cost, row in zip(costs, rows, strict=True)) <= 0.9 + 1e-12

    rows, _ = compression_step(values, costs, 1.0, fits)
    assert rows.tolist() == [1, 2]


@pytest.mark.parametrize("mu", [1e-4, 1.0, 1e4])
def test_alpha_goes_with_mu_and_the_selection_does_not(mu: float) -> None:
    values, costs, _, limit = random_case(7)

    def fits(rows: IntArray) -> bool:
        return sum(float(cost[row]) for cost, row in zip(costs, rows, strict=True)) <= limit

    (rows, alpha), (base, unit) = (compression_step(values, costs, weight, fits) for weight in (mu, 1.0))
    assert rows.tolist() == base.tolist()
    assert alpha == pytest.approx(mu * unit, rel=1e-6)


def first_selection(task: Task) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The C-step on the dense weights by hand: macs as a part of what the budget leaves, all alphas."""
    space = task.space
    column = space.metric_names.index("macs")
    limit = math.floor(dict(task.budget.bounds)["macs"] * space.dense_cost["macs"]) - space.fixed_cost["macs"]
    values = [options.errors for options in space.layers]
    costs = [options.costs[:, column] / limit for options in space.layers]
    points = breakpoints(values, costs, 0.05)
    for low, high in itertools.pairwise([*points, points[-1] * 2 + 1]):
        rows = selection(values, costs, 0.05, (low + high) / 2)
        if sum(int(o.costs[row, column]) for o, row in zip(space.layers, rows, strict=True)) <= limit:
            break
    return {o.layer.name: (o.choice(row).form, o.choice(row).ranks) for o, row in zip(space.layers, rows, strict=True)}


@pytest.mark.parametrize("macs", [0.4, 0.55, 0.7, 0.9])
def test_the_first_step_compresses_the_dense_weights(macs: float) -> None:
    task = tiny_task(Budget(macs=macs))
    searcher = make_searcher(task, "lc", 0)
    assert isinstance(searcher, LC)
    plan = searcher.step().plan
    assert plan is not None
    assert {name: (choice.form, choice.ranks) for name, choice in plan.items()} == first_selection(task)
    trained = searcher.trained().state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in task.model.state_dict().items())


def proximities(task: Task, **options: float) -> list[float]:
    """``||W - Theta||^2`` after every step, by projections of the trained weights."""
    searcher = make_searcher(task, "lc", 0, **options)
    assert isinstance(searcher, LC)
    found = []
    while not searcher.done:
        plan = searcher.step().plan
        assert plan is not None
        task.admit(plan)
        found.append(sum(squared_error(searcher.trained(), name, choice) for name, choice in plan.items()))
    return found


def test_a_large_penalty_draws_the_weights_to_the_compressed_ones() -> None:
    found = proximities(tiny_task(Budget(macs=0.5)), epochs=8, mu=4.0, growth=1.2, lr=0.02, batch_size=8)
    assert len(found) == 9
    assert found[0] > 0
    assert found[-1] < 0.05 * found[0]


def test_a_larger_penalty_draws_more() -> None:
    task = tiny_task(Budget(macs=0.5))
    last = [proximities(task, epochs=4, mu=mu, growth=1.0, lr=0.02, batch_size=8)[-1] for mu in (1e-6, 0.3, 5.0)]
    assert last == sorted(last, reverse=True)


def test_on_the_small_task_the_answer_fits_and_its_network_was_trained() -> None:
    task = small_task(tiny=True)
    result = search(task, "lc", epochs=4, mu=2.0, growth=1.5, batch_size=8)
    assert len(result.trials) == 5
    assert result.cost["macs"] <= math.floor(0.95 * task.space.dense_cost["macs"])
    assert task.space.cost(result.plan) == dict(result.cost)
    assert result.plan == result.trials[-1].plan
    assert result.score is None
    assert result.trained is not None
    dense, trained = task.model.state_dict(), result.trained.state_dict()
    assert any(not torch.equal(dense[name], trained[name]) for name in dense)

    def proximity(steps: int) -> float:
        searcher = make_searcher(small_task(tiny=True), "lc", 0, epochs=4, mu=2.0, growth=1.5, batch_size=8)
        assert isinstance(searcher, LC)
        for _ in range(steps):
            plan = searcher.step().plan
        assert plan is not None
        return sum(squared_error(searcher.trained(), name, choice) for name, choice in plan.items())

    assert proximity(5) < 0.5 * proximity(1)


def test_with_cp_too_the_answer_of_the_small_task_fits() -> None:
    task = small_task()
    result = search(task, "lc", epochs=1)
    assert result.cost["macs"] <= math.floor(0.95 * task.space.dense_cost["macs"])
    assert result.trained is not None


def test_half_of_the_fine_tune_is_trained_unless_told() -> None:
    task = tiny_task(Budget(macs=0.6))  # its fine-tune has two epochs
    result = search(task, "lc")
    assert len(result.trials) == 2
    assert result.meter["samples_trained"] == task.epoch_samples


def test_every_plan_of_every_budget_fits() -> None:
    for macs in (0.33, 0.5, 0.8, 1.0):
        for trial in search(tiny_task(Budget(macs=macs)), "lc", epochs=2, mu=1.0).trials:
            assert trial.plan is not None
            assert COSTS[trial.plan]["macs"] <= math.floor(macs * MACS)


def test_the_same_seed_trains_the_same_network_and_a_restored_search_goes_on_alike() -> None:
    task = tiny_task(Budget(macs=0.6))
    first, second, third = (make_searcher(task.under(task.budget), "lc", 4, epochs=2, mu=1.0) for _ in range(3))
    assert isinstance(first, LC)
    assert isinstance(second, LC)
    assert isinstance(third, LC)
    first.step()
    first.step()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    plans = [first.step().plan, second.step().plan]
    for _ in range(3):
        last = third.step().plan
    assert plans == [last, last]
    weights = [one.trained().state_dict() for one in (first, second, third)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])
        assert torch.equal(value, weights[2][name])


def test_it_says_that_it_needs_data() -> None:
    with pytest.raises(DataError):
        search(tiny_task(data=False), "lc")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", -1),
        ("epochs", 1.5),
        ("mu", 0),
        ("mu", -1.0),
        ("mu", math.nan),
        ("mu", "large"),
        ("growth", 0),
        ("growth", math.inf),
        ("lr", 0),
        ("lr", None),
        ("batch_size", 1),
        ("batch_size", 2.5),
        ("distill", 1.5),
        ("distill", -0.1),
    ],
)
def test_values_that_are_not_allowed_are_refused_in_one_line(option: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{option}=") as caught:
        search(tiny_task(), "lc", **{option: value})
    assert "\n" not in str(caught.value)
