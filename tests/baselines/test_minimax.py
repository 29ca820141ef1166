"""Minimax: the least largest error of a layer, then the least sum, against every plan of tiny spaces."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from tiny_task import MACS, PARAMS, TinyNet, all_plans, tiny_net, tiny_task

from rank_search.arrays import FloatArray
from rank_search.baselines.minimax import spectral_norm
from rank_search.errors import InvalidInputError
from rank_search.searching import search
from rank_search.space import DENSE, Budget, RankPlan, RankSpace
from rank_search.task import Task

pytestmark = pytest.mark.usefixtures("single_thread")

DENSE_COST = {"macs": MACS, "params": PARAMS}
COSTS = dict(all_plans())
BUDGETS = [
    *({"macs": bound} for bound in (0.36, 0.45, 0.58, 0.7, 0.9, 1.0)),
    *({"params": bound} for bound in (0.35, 0.5, 0.75)),
    {"macs": 0.6, "params": 0.6},
]
GROUPED = ("svd_grouped", "tucker2", "svd")


def uneven_net(seed: int = 0) -> TinyNet:
    net = tiny_net(seed)
    net.second.weight.data.mul_(20)
    return net


def layer_errors(space: RankSpace, norm: str) -> list[FloatArray]:
    """Errors of every option by numpy, from the weights that the options stand for."""
    found = []
    for options in space.layers:
        weight = options.approximation(0).numpy()
        errors = []
        for row in range(len(options)):
            off = weight - options.approximation(row).numpy()
            if norm == "energy":
                errors.append((off**2).sum() / (weight**2).sum())
            else:
                gone = max(np.linalg.norm(part.reshape(len(part), -1), 2) for part in off)
                errors.append(gone / max(np.linalg.norm(part.reshape(len(part), -1), 2) for part in weight))
        found.append(np.array(errors))
    return found


def table(space: RankSpace, errors: list[FloatArray], budget: dict[str, float]) -> tuple[FloatArray, FloatArray]:
    """Largest and summed error of every plan within the budget, by the tables' costs."""
    rows = np.array(list(itertools.product(*(range(len(options)) for options in space.layers))))
    costs = space.costs(rows)
    fits = np.ones(len(rows), dtype=bool)
    for metric, bound in budget.items():
        fits &= costs[:, space.metric_names.index(metric)] <= math.floor(bound * space.dense_cost[metric])
    each = np.stack([error[column] for error, column in zip(errors, rows[fits].T, strict=True)])
    return each.max(0), each.sum(0)


def check(task: Task, budget: dict[str, float], norm: str, plan: RankPlan) -> None:
    errors = layer_errors(task.space, norm)
    largest, total = table(task.space, errors, budget)
    chosen = [error[row] for error, row in zip(errors, task.space.indices(plan), strict=True)]
    assert max(chosen) == pytest.approx(largest.min(), rel=1e-6, abs=1e-9)
    best = total[largest <= largest.min() + 1e-9].min()
    assert sum(chosen) == pytest.approx(best, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("norm", ["spectral", "energy"])
@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_plan_within_the_budget_has_a_smaller_largest_error_nor_at_that_error_a_smaller_sum(
    budget: dict[str, float], seed: int, norm: str
) -> None:
    task = tiny_task(Budget(**budget), net=uneven_net(seed))
    plan = search(task, "minimax", norm=norm).plan
    assert all(COSTS[plan][metric] <= math.floor(bound * DENSE_COST[metric]) for metric, bound in budget.items())
    check(task, budget, norm, plan)


@pytest.mark.parametrize("norm", ["spectral", "energy"])
@pytest.mark.parametrize("bound", [0.3, 0.5, 0.65, 0.8])
def test_the_split_into_groups_of_channels_is_chosen_too(bound: float, norm: str) -> None:
    task = tiny_task(Budget(macs=bound), forms=GROUPED, net=uneven_net(1))
    check(task, {"macs": bound}, norm, search(task, "minimax", norm=norm).plan)


def test_several_splits_are_used_somewhere() -> None:
    splits = set()
    for bound, seed in itertools.product((0.36, 0.5, 0.65, 0.8), range(3)):
        task = tiny_task(Budget(macs=bound), forms=("svd_grouped", "svd"), net=uneven_net(seed), data=False)
        plan = search(task, "minimax").plan
        splits |= {choice.ranks[0] for choice in plan.values() if choice.form == "svd_grouped"}
    assert len(splits) > 1


def test_the_spectral_norm_is_the_default() -> None:
    for bound in (0.4, 0.6, 0.8):
        task = tiny_task(Budget(macs=bound), net=uneven_net(3))
        assert search(task, "minimax").plan == search(task, "minimax", norm="spectral").plan


def test_the_spectral_norm_of_a_weight_is_the_greatest_of_its_groups() -> None:
    weight = torch.randn(3, 5, 4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = max(np.linalg.norm(part.reshape(5, 36), 2) for part in weight.numpy())
    assert spectral_norm(weight) == pytest.approx(expected, rel=1e-10)
    assert spectral_norm(torch.zeros(1, 2, 2, 1, dtype=torch.float64)) == 0


def test_for_an_svd_the_spectral_error_is_the_next_singular_value_over_the_first() -> None:
    task = tiny_task(Budget(macs=0.99), net=uneven_net())
    options = task.space.layers[2]
    values = np.linalg.svd(options.approximation(0).numpy()[0, :, :, 0], compute_uv=False)
    assert layer_errors(task.space, "spectral")[2][1] == pytest.approx(values[1] / values[0], rel=1e-9)


def test_with_room_for_everything_nothing_is_lost() -> None:
    assert search(tiny_task(Budget(macs=1.0)), "minimax").plan == RankPlan({})


@pytest.mark.parametrize("norm", ["spectral", "energy"])
def test_options_without_a_fit_are_never_taken(norm: str) -> None:
    plain = tiny_task(Budget(macs=0.6))
    taken = search(plain, "minimax", norm=norm).plan
    tables = []
    for options in plain.space.layers:
        errors = options.errors / options.energy
        if taken[options.layer.name] != DENSE:
            errors[options.index(taken[options.layer.name])] = math.inf
        tables.append(options.with_relative_errors(errors))
    task = Task(plain.model, plain.space.with_tables(tables), plain.budget, plain.data, recalibration_samples=20)
    plan = search(task, "minimax", norm=norm).plan
    assert all(choice == DENSE or choice != taken[name] for name, choice in plan.items())
    errors = layer_errors(plain.space, norm)
    for error, options in zip(errors, task.space.layers, strict=True):
        error[~np.isfinite(options.errors)] = math.inf
    largest, _ = table(task.space, errors, {"macs": 0.6})
    chosen = [error[row] for error, row in zip(errors, task.space.indices(plan), strict=True)]
    assert max(chosen) == pytest.approx(largest.min(), rel=1e-6)


@pytest.mark.parametrize("norm", ["nuclear", "", None, 2])
def test_a_norm_that_there_is_not_is_refused_in_one_line(norm: object) -> None:
    with pytest.raises(InvalidInputError, match="norm=") as caught:
        search(tiny_task(), "minimax", norm=norm)
    assert "\n" not in str(caught.value)


def test_it_needs_neither_data_nor_evaluations() -> None:
    for norm in ("spectral", "energy"):
        with_data = search(tiny_task(), "minimax", seed=1, norm=norm)
        assert with_data.plan == search(tiny_task(data=False), "minimax", seed=2, norm=norm).plan
        assert [with_data.meter[name] for name in ("evaluations", "samples_forward", "samples_trained")] == [0, 0, 0]
        assert with_data.meter["decompositions"] == 3
