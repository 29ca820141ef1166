"""Sensitivity: the table is what networks with one changed layer measure, and the cut is that of every threshold."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from tiny_task import MACS, PARAMS, all_plans, tiny_task
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.arrays import FloatArray
from rank_search.baselines.sensitivity import Sensitivity
from rank_search.errors import DataError, InvalidInputError
from rank_search.searching import search
from rank_search.space import DENSE, Budget, RankPlan
from rank_search.task import Task
from rank_search.task.oracles import Oracles

pytestmark = pytest.mark.usefixtures("single_thread")

COSTS = dict(all_plans())
MIXED = ("tucker2", "svd_channel", "svd")


def loss_of(task: Task, layer: int, row: int, samples: int) -> float:
    """The loss of the dense network with one weight replaced, in float64; norms use what the batch has."""
    model = copy.deepcopy(task.model).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    weight = model.get_submodule(task.space.layers[layer].layer.name).weight
    weight.data = task.space.layers[layer].approximation(row).reshape(weight.shape)
    batch = task.fixed_batch(samples)
    assert isinstance(batch.inputs, Tensor)
    with torch.no_grad():
        return float(F.cross_entropy(model(batch.inputs.double()), batch.targets))


def scores(task: Task, **options: int) -> list[FloatArray]:
    return Sensitivity(Oracles(task), seed=0, **options).scores()


@pytest.mark.parametrize(("levels", "samples"), [(3, 16), (8, 41), (100, 30)])
def test_scores_are_the_losses_with_that_layer_alone_replaced(levels: int, samples: int) -> None:
    task = tiny_task(Budget(macs=0.6), forms=MIXED)
    for place, found in enumerate(scores(task, levels=levels, samples=samples)):
        assert found[0] == -math.inf
        measured = np.flatnonzero(np.isfinite(found))
        assert 1 <= len(measured) <= levels
        expected = [loss_of(task, place, int(row), samples) for row in measured]
        assert found[measured] == pytest.approx(expected, rel=1e-4)
        assert all(found[row] == math.inf for row in range(1, len(found)) if row not in measured)


def undominated(cost: FloatArray, error: FloatArray) -> list[int]:
    """Rows cheaper than dense that no other row beats on cost or error without being worse on the other."""
    rows = [row for row in range(len(cost)) if cost[row] < cost[0]]
    return [
        row
        for row in rows
        if not any(
            cost[other] <= cost[row]
            and error[other] <= error[row]
            and (cost[other] < cost[row] or error[other] < error[row])
            for other in range(len(cost))
        )
    ]


def test_with_levels_for_all_the_whole_frontier_of_cost_and_error_is_measured() -> None:
    task = tiny_task(Budget(macs=0.6), forms=MIXED)
    column = task.space.metric_names.index("macs")
    for options, found in zip(task.space.layers, scores(task, levels=100, samples=8), strict=True):
        expected = undominated(options.costs[:, column].astype(float), options.errors)
        assert np.flatnonzero(np.isfinite(found)).tolist() == sorted(expected)


def test_few_levels_are_of_the_frontier_and_spread_from_the_dearest_to_the_cheapest() -> None:
    task = tiny_task(Budget(macs=0.6), forms=MIXED)
    column = task.space.metric_names.index("macs")
    for options, found in zip(task.space.layers, scores(task, levels=3, samples=8), strict=True):
        cost = options.costs[:, column].astype(float)
        frontier = undominated(cost, options.errors)
        measured = np.flatnonzero(np.isfinite(found)).tolist()
        assert set(measured) <= set(frontier)
        if len(frontier) > 1:
            assert cost[measured].min() == cost[frontier].min()
            assert cost[measured].max() == cost[frontier].max()


def by_hand(task: Task, table: list[FloatArray], metric: str, limit: int) -> RankPlan | None:
    """The cheapest options of score <= t, at the smallest t whose plan fits."""
    column = task.space.metric_names.index(metric)
    for threshold in np.unique(np.concatenate(table)):
        if threshold == math.inf:
            return None
        rows = [
            min(np.flatnonzero(score <= threshold).tolist(), key=lambda row: options.costs[row, column])
            for score, options in zip(table, task.space.layers, strict=True)
        ]
        plan = task.space.plan(np.array(rows))
        if task.space.cost(plan)[metric] <= limit:
            return plan
    return None


@pytest.mark.parametrize("forms", [("tucker2", "svd"), MIXED], ids=str)
@pytest.mark.parametrize(
    "budget", [{"macs": 0.4}, {"macs": 0.5}, {"macs": 0.7}, {"macs": 0.9}, {"params": 0.5}, {"params": 0.8}], ids=str
)
def test_the_plan_is_that_of_the_smallest_common_score_that_fits(
    budget: dict[str, float], forms: tuple[str, ...]
) -> None:
    task = tiny_task(Budget(**budget), forms=forms)
    ((metric, bound),) = budget.items()
    limit = math.floor(bound * {"macs": MACS, "params": PARAMS}[metric])
    expected = by_hand(task, scores(task, levels=6, samples=30), metric, limit)
    assert expected is not None
    assert search(task, "sensitivity", levels=6, samples=30).plan == expected


def test_where_no_measured_options_fit_the_cheapest_are_projected() -> None:
    for levels in (1, 2, 8):
        for macs in (0.31, 0.36):
            plan = search(tiny_task(Budget(macs=macs)), "sensitivity", levels=levels, samples=16).plan
            assert COSTS[plan]["macs"] <= math.floor(macs * MACS)


def test_with_room_for_everything_nothing_is_cut() -> None:
    assert search(tiny_task(Budget(macs=1.0)), "sensitivity", samples=16).plan == RankPlan({})


def test_measurements_are_charged_as_forward_samples() -> None:
    task = tiny_task(Budget(macs=0.6))
    measured = sum(int(np.isfinite(one).sum()) for one in scores(task.under(task.budget), levels=4, samples=20))
    meter = search(task, "sensitivity", levels=4, samples=20).meter
    assert meter["samples_forward"] == 20 * measured
    assert [meter[name] for name in ("evaluations", "samples_trained", "decompositions")] == [0, 0, 3]


def test_options_without_a_fit_are_neither_measured_nor_taken() -> None:
    plain = tiny_task(Budget(macs=0.6))
    taken = search(plain, "sensitivity", samples=16).plan
    tables = []
    for options in plain.space.layers:
        errors = options.errors / options.energy
        if taken[options.layer.name] != DENSE:
            errors[options.index(taken[options.layer.name])] = math.inf
        tables.append(options.with_relative_errors(errors))
    task = Task(plain.model, plain.space.with_tables(tables), plain.budget, plain.data, recalibration_samples=20)
    for found, options in zip(scores(task, samples=16), task.space.layers, strict=True):
        assert np.isinf(found[np.isinf(options.errors)]).all()
    plan = search(task, "sensitivity", samples=16).plan
    assert all(choice == DENSE or choice != taken[name] for name, choice in plan.items())


def test_it_says_that_it_needs_data() -> None:
    with pytest.raises(DataError):
        search(tiny_task(data=False), "sensitivity")


@pytest.mark.parametrize(
    ("option", "value"),
    [("levels", 0), ("levels", 1.5), ("levels", None), ("levels", True), ("samples", 0), ("samples", "all")],
)
def test_values_that_are_not_allowed_are_refused_in_one_line(option: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{option}=") as caught:
        search(tiny_task(), "sensitivity", **{option: value})
    assert "\n" not in str(caught.value)
