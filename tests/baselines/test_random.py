"""Random search: feasible, none twice, and in a small space every plan there is."""

from __future__ import annotations

import json

import pytest
from asking import asked
from tiny_task import MACS, PARAMS, all_plans, tiny_task

from rank_search.baselines.random import Random
from rank_search.searching import search
from rank_search.space import Budget, RankPlan
from rank_search.task import Limits
from rank_search.task.oracles import task_of

pytestmark = pytest.mark.usefixtures("single_thread")


def plans(seed: int, evaluations: int = 12) -> list[RankPlan | None]:
    steps = search(tiny_task(), "random", Limits(evaluations=evaluations), seed).trials
    return [step.plan for step in steps]


def test_every_plan_is_within_the_budget_and_none_comes_twice() -> None:
    found = plans(0, evaluations=25)
    assert len(found) == len(set(found)) == 25
    costs = dict(all_plans())
    assert all(costs[plan]["macs"] <= 0.7 * MACS for plan in found if plan is not None)


@pytest.mark.parametrize("budget", [{"macs": 0.45}, {"params": 0.4}, {"macs": 0.6, "params": 0.4}], ids=str)
def test_a_tiny_space_is_walked_through_to_exactly_all_its_feasible_plans(budget: dict[str, float]) -> None:
    dense = {"macs": MACS, "params": PARAMS}
    feasible = {
        plan
        for plan, cost in all_plans()
        if all(cost[metric] <= bound * dense[metric] for metric, bound in budget.items())
    }
    result = search(tiny_task(Budget(**budget)), "random", Limits(evaluations=1000))
    found = [step.plan for step in result.trials]
    assert len(found) == len(feasible) >= 2
    assert set(found) == feasible
    assert result.ended == "done"
    assert result.meter["evaluations"] == len(feasible)
    best = min(result.trials, key=lambda step: step.score or 0)
    assert result.score == best.score
    assert result.plan == best.plan


def test_the_seed_decides_the_plans() -> None:
    assert plans(3) == plans(3)
    assert plans(3) != plans(4)


def test_the_score_is_the_validation_loss() -> None:
    task = tiny_task()
    for step in search(task, "random", Limits(evaluations=3)).trials:
        expected = task.evaluate(step.plan)
        assert (step.score, step.measures["accuracy"]) == (expected.score, expected.measures["accuracy"])


def test_a_restored_search_goes_on_with_the_same_plans() -> None:
    first = Random(tiny_task(), seed=6)
    asked(first, 5)
    second = Random(tiny_task(), seed=6)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert asked(second, 8) == asked(first, 8)
    assert task_of(second.task).meter.evaluations == 8
