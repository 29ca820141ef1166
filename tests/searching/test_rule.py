"""Rules: one plan is the answer as it is, of several the best evaluation is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from tiny_task import tiny_task

from rank_search.errors import PluginError
from rank_search.searching import About, RuleSearcher, run_search, search
from rank_search.searching.within_budget import first_within
from rank_search.space import Budget, RankPlan
from rank_search.task import Limits, Oracles, Task

pytestmark = pytest.mark.usefixtures("single_thread")


class Named(RuleSearcher):
    """The cheapest plans, so many of them; the same again, once more."""

    needs_data: ClassVar[bool] = False
    count: ClassVar[int] = 3
    asked: ClassVar[list[tuple[int, int]]] = []

    def plans(self) -> Sequence[RankPlan]:
        first = [
            plan for plan, _ in zip(self.task.space.feasible_plans(self.task.budget), range(self.count), strict=False)
        ]
        return [*first, *first]

    def more(self, plans: Sequence[RankPlan], scores: Sequence[float | None]) -> Sequence[RankPlan]:
        self.asked.append((len(plans), len(scores)))
        return [self.task.space.project(self.task.space.dense, self.task.budget), plans[0]]


class Single(Named):
    count = 1


def test_a_single_plan_is_not_evaluated() -> None:
    found = search(tiny_task(Budget(macs=0.5)), Single)
    assert len(found.trials) == 1
    assert found.score is None
    assert found.meter["evaluations"] == 0


def test_of_several_plans_the_best_evaluation_is_the_answer_and_more_are_asked_for_once() -> None:
    Named.asked.clear()
    task = tiny_task(Budget(macs=0.5))
    found = search(task, Named)
    assert Named.asked == [(3, 3)]
    assert found.meter["evaluations"] == len(found.trials) == 4
    assert found.score == min(task.evaluate(trial.plan).score for trial in found.trials)


def test_without_data_the_weight_error_decides() -> None:
    whole = tiny_task(Budget(macs=0.5))
    task = Task(whole.model, whole.space, whole.budget)
    found = search(task, Named)
    assert found.meter["evaluations"] == 0
    assert found.score == pytest.approx(min(task.weight_error(trial.plan) for trial in found.trials))


def test_a_limit_leaves_what_was_found() -> None:
    found = search(tiny_task(Budget(macs=0.5)), Named, Limits(evaluations=2))
    assert len(found.trials) == 2


def test_the_first_parameter_within_the_budget_is_found_and_else_the_last_is_projected() -> None:
    task = Oracles(tiny_task(Budget(macs=0.5)))
    space = task.space
    plans = sorted(space.feasible_plans(Budget(macs=1.0)), key=lambda plan: -space.cost(plan)["macs"])
    within = next(plan for plan in plans if space.cost(plan)["macs"] <= 0.5 * space.dense_cost["macs"])
    found = first_within(task, plans, lambda plan: plan)
    assert space.cost(found)["macs"] == space.cost(within)["macs"]
    assert first_within(task, [space.dense], lambda plan: plan) == space.project(space.dense, task.budget)


def test_what_a_method_says_of_itself_is_checked() -> None:
    assert About("local", "labels", "", "ours").needs == "labels"
    with pytest.raises(PluginError, match=r"about\.needs='data' is not allowed: it is one of weights, unlabelled"):
        About(needs="data")
    with pytest.raises(PluginError, match=r"about\.origin='stolen'"):
        About(origin="stolen")


def test_a_rule_goes_on_from_its_state() -> None:
    task = tiny_task(Budget(macs=0.5))
    whole = run_search(Named(Oracles(task.under(task.budget)), seed=0))
    first = Named(Oracles(task.under(task.budget)), seed=0)
    steps = [first.step(), first.step()]
    second = Named(Oracles(task.under(task.budget)), seed=0)
    second.load_state_dict(first.state_dict())
    while not second.done:
        steps.append(second.step())
    assert [step.plan for step in steps] == [trial.plan for trial in whole.trials]
    assert [step.score for step in steps] == [trial.score for trial in whole.trials]
