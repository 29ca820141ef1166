"""Depth ramp: shares of rank on a straight line, recomputed from the closed forms; slope 0 is the uniform rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_task import MACS, PARAMS, SHORT, all_plans, tiny_data, tiny_task
from torch import Tensor, nn

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import DataError, InvalidInputError
from rank_search.searching import search
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.task import Task

pytestmark = pytest.mark.usefixtures("single_thread")

COSTS = dict(all_plans())
SIZES = [(30, 36), (24, 30), (28, 24), (20, 28), (3, 20)]
CHOSEN = SIZES[:4]
SLOPES = (-1.2, -0.8, -0.4, 0.4, 0.8, 1.2)


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(into, out, bias=False) for out, into in SIZES)

    def forward(self, images: Tensor) -> Tensor:
        features = images.flatten(1)
        for layer in self.layers[:-1]:
            features = torch.tanh(layer(features))
        logits: Tensor = self.layers[-1](features)
        return logits


def deep_task(macs: float) -> Task:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Deep().eval()
    space = RankSpace.from_model(net, torch.zeros(1, 1, 6, 6), forms=["svd"], exclude=["layers.4"])
    return Task(net, space, Budget(macs=macs), tiny_data(), SHORT)


SUMS = np.array([out + into for out, into in CHOSEN])
LARGEST = np.array([(out * into - 1) // (out + into) for out, into in CHOSEN])
"""The largest ranks that are cheaper than dense."""
DENSE_MACS = sum(out * into for out, into in SIZES)


def by_hand(means: FloatArray, slope: float) -> IntArray:
    """Ranks ``[means, layers]`` at the shares mean (1 + slope (i / (n - 1) - 1/2)) of the largest ranks, at most 1."""
    line = 1 + slope * (np.arange(len(CHOSEN)) / (len(CHOSEN) - 1) - 0.5)
    ranks: IntArray = np.maximum(1, np.rint(np.minimum(means[:, None] * line, 1) * LARGEST)).astype(np.int64)
    return ranks


def ranks_of(plan: RankPlan | None) -> list[int]:
    assert plan is not None
    return [plan[f"layers.{place}"].ranks[0] for place in range(len(CHOSEN))]


def macs_of(ranks: IntArray) -> IntArray:
    total: IntArray = np.asarray(ranks) @ SUMS + SIZES[4][0] * SIZES[4][1]
    return total


def check(macs: float, slope: float, means: FloatArray) -> None:
    """Some proposed plan is that of the largest mean whose plan fits, or of one at most half a percent less."""
    limit = math.floor(macs * DENSE_MACS)
    proposed = [ranks_of(trial.plan) for trial in search(deep_task(macs), "depth_ramp", slopes=[slope]).trials]
    path = by_hand(means, slope)
    largest = means[macs_of(path) <= limit].max()
    expected = path[(means <= largest) & (means >= largest / 1.005 - 1e-3)].tolist()
    assert any(ranks in expected for ranks in proposed)
    assert all(macs_of(np.array(ranks)) <= limit for ranks in proposed)


@pytest.mark.parametrize("slope", [*SLOPES, 2.0, -2.0, 0.0])
@pytest.mark.parametrize("macs", [0.2, 0.35, 0.5])
def test_shares_are_on_a_line_of_that_slope_and_the_mean_is_as_large_as_the_budget_allows(
    macs: float, slope: float
) -> None:
    check(macs, slope, np.arange(1, 10001) / 10000)


@pytest.mark.parametrize(("macs", "slope"), [(0.9, 1.2), (0.9, -1.2), (0.98, -0.8)])
def test_where_layers_reach_their_largest_rank_the_others_go_on_growing_until_the_budget_is_spent(
    macs: float, slope: float
) -> None:
    check(macs, slope, np.arange(1, 200001) / 10000)


def test_a_rising_slope_moves_rank_from_the_first_to_the_last_layers() -> None:
    shares = []
    for slope in (-1.2, -0.4, 0.4, 1.2):
        proposed = [trial.plan for trial in search(deep_task(0.4), "depth_ramp", slopes=[slope]).trials]
        plan = next(plan for plan in proposed if plan is not None and ramp(plan) * slope > 0)
        shares.append(ramp(plan))
    assert shares == sorted(shares)


def ramp(plan: RankPlan) -> float:
    """Share of the last layer less that of the first."""
    shares = np.array(ranks_of(plan)) / LARGEST
    return float(shares[-1] - shares[0])


@pytest.mark.parametrize(
    "budget",
    [{"macs": bound} for bound in (0.36, 0.5, 0.62, 0.9, 1.0)] + [{"params": 0.5}, {"macs": 0.9, "params": 0.5}],
    ids=str,
)
def test_slope_zero_is_the_uniform_rule(budget: dict[str, float]) -> None:
    task = tiny_task(Budget(**budget))
    result = search(task, "depth_ramp", slopes=[0.0])
    assert result.plan == search(task, "uniform").plan


@pytest.mark.parametrize(
    "budget",
    [{"macs": 0.33}, {"macs": 0.36}, {"macs": 0.6}, {"macs": 1.0}, {"params": 0.5}, {"macs": 0.6, "params": 0.6}],
    ids=str,
)
def test_every_plan_is_within_the_budget_and_the_best_measured_one_is_the_answer(budget: dict[str, float]) -> None:
    task = tiny_task(Budget(**budget))
    result = search(task, "depth_ramp")
    dense = {"macs": MACS, "params": PARAMS}
    scores = {}
    for trial in result.trials:
        assert trial.plan is not None
        assert all(COSTS[trial.plan][m] <= math.floor(bound * dense[m]) for m, bound in budget.items())
        scores[trial.plan] = task.evaluate(trial.plan).score
    if len(result.trials) > 1:
        assert [trial.score for trial in result.trials] == [scores[trial.plan] for trial in result.trials]
        assert scores[result.plan] == result.score == min(scores.values())
    assert len(scores) == len(result.trials) <= 7


def test_slope_zero_is_among_the_plans_tried() -> None:
    task = deep_task(0.4)
    uniform = search(task, "uniform").plan
    result = search(task, "depth_ramp")
    assert uniform in [trial.plan for trial in result.trials]
    assert result.score is not None
    assert result.score <= task.evaluate(uniform).score


def test_it_says_that_it_needs_data() -> None:
    with pytest.raises(DataError):
        search(tiny_task(data=False), "depth_ramp")


def test_slopes_are_tried_with_the_form_that_is_best_at_slope_zero() -> None:
    more = 0
    for macs in (0.45, 0.6, 0.75, 0.9):
        task = tiny_task(Budget(macs=macs), forms=("tucker2", "svd_channel", "svd"))
        plans = [trial.plan for trial in search(task, "depth_ramp").trials if trial.plan is not None]
        level = search(task, "uniform").trials
        assert plans[: len(level)] == [trial.plan for trial in level]
        best = min(level, key=lambda trial: math.inf if trial.score is None else trial.score).plan
        assert best is not None
        forms = {best[name].form for name in ("first", "second")} - {"dense"}
        for plan in plans[len(level) :]:
            assert {plan[name].form for name in ("first", "second")} - {"dense"} <= forms
            more += 1
    assert more


@pytest.mark.parametrize("value", [[2.5], [-2.01], [0.4, math.nan], ["steep"], [None], 0.4, "0.4"])
def test_slopes_that_are_not_allowed_are_refused_in_one_line(value: object) -> None:
    with pytest.raises(InvalidInputError, match="slopes=") as caught:
        search(tiny_task(), "depth_ramp", slopes=value)
    assert "\n" not in str(caught.value)
