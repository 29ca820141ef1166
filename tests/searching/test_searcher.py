"""The contract's own code: asking, telling, outcomes that are known, and plans that have none yet."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scripted import plan
from tiny_task import MACS, all_plans, tiny_task
from torch import nn

from rank_search.errors import EvaluationError, InvalidInputError, LimitReached, OverBudgetError, PluginError
from rank_search.searching import AskTellSearcher, Outcome, Proposal, Searcher, register_searcher, searchers
from rank_search.searching.option_values import one_of
from rank_search.searching.searcher import evaluate
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.task import Evaluation, Limits, Task

pytestmark = pytest.mark.usefixtures("single_thread")

A, B, C = plan(1, 1), plan(2, 1), plan(2, 2)


class Listed(AskTellSearcher):
    """Asks for the plans of a list, then for nothing."""

    def __init__(self, task: Task, *, seed: int = 0, plans: tuple[RankPlan, ...] = ()) -> None:
        super().__init__(task, seed=seed)
        self.plans, self.told = list(plans), list[tuple[RankPlan, Outcome]]()

    def ask(self) -> RankPlan | None:
        return self.plans.pop(0) if self.plans else None

    def tell(self, plan: RankPlan, outcome: Outcome) -> None:
        self.told.append((plan, outcome))


def test_a_step_asks_evaluates_and_tells() -> None:
    task = tiny_task()
    searcher = Listed(task, plans=(A, B))
    expected = tiny_task().evaluate(A)
    proposal = searcher.step()
    assert proposal == Proposal(A, expected.loss, expected.accuracy)
    outcome = Outcome(expected.loss, expected.accuracy)
    assert searcher.told == [(A, outcome)]
    assert searcher.outcomes == {A: outcome}
    assert not searcher.done
    searcher.step()
    assert [chosen for chosen, _ in searcher.told] == [A, B]
    assert task.meter.evaluations == 2


def test_a_plan_asked_for_again_is_told_what_is_known_without_an_evaluation() -> None:
    task = tiny_task()
    searcher = Listed(task, plans=(A, B, RankPlan(dict(reversed(list(A.items()))))))
    first = searcher.step()
    searcher.step()
    again = searcher.step()
    assert task.meter.evaluations == 2
    assert (again.score, again.accuracy, again.cached) == (first.score, first.accuracy, True)
    assert (first.cached, len(searcher.told)) == (False, 3)


def test_a_failure_is_known_too() -> None:
    task = tiny_task()
    task.evaluate = fails("no finite CP")  # type: ignore[method-assign]
    searcher = Listed(task, plans=(A, A))
    assert searcher.step() == Proposal(A, None, None, "no finite CP")
    task.evaluate = fails("not asked again")  # type: ignore[method-assign]
    assert searcher.step() == Proposal(A, None, None, "no finite CP", cached=True)


def fails(reason: str) -> Callable[[RankPlan], Evaluation]:
    def raising(plan: RankPlan) -> Evaluation:
        raise EvaluationError(reason)

    return raising


def test_a_searcher_with_nothing_left_is_done() -> None:
    searcher = Listed(tiny_task())
    assert not searcher.done
    assert searcher.step() == Proposal(None)
    assert searcher.done
    assert searcher.told == []


def test_outcomes_survive_a_state_in_json() -> None:
    first = Listed(tiny_task(), plans=(A, B))
    first.step()
    first.task.evaluate = fails("broken")  # type: ignore[method-assign]
    for _ in range(2):
        first.step()
    second = Listed(tiny_task(), plans=(A, B, C))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.outcomes == first.outcomes
    assert second.done
    assert [second.step().cached for _ in range(3)] == [True, True, False]
    assert second.task.meter.evaluations == 1


def test_an_evaluation_that_fails_is_an_outcome_but_limits_and_budgets_are_not() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    task = tiny_task(Budget(macs=0.9), net=net)
    with torch.no_grad():
        net[2].bias[0] = torch.nan
    cheap = task.space.project(task.space.dense, task.budget)
    failed = evaluate(task, cheap)
    assert (failed.score, failed.accuracy) == (None, None)
    assert failed.failure == "the validation loss is nan: the network's outputs are not finite"
    with pytest.raises(OverBudgetError):
        evaluate(task, task.space.dense)
    with pytest.raises(LimitReached):
        evaluate(task.under(task.budget, limits=Limits(samples_forward=1)), cheap)


def test_unseen_plans_are_within_the_budget_new_and_in_a_small_space_all_there_are() -> None:
    budget = Budget(macs=0.45)
    feasible = {chosen for chosen, cost in all_plans() if cost["macs"] <= 0.45 * MACS}
    searcher, rng = Listed(tiny_task(budget)), np.random.default_rng(0)
    found: list[RankPlan] = []
    while (chosen := searcher.unseen(rng)) is not None:
        found.append(chosen)
        searcher.outcomes[chosen] = Outcome(0.0)
    assert len(found) == len(set(found)) == len(feasible) > 5
    assert set(found) == feasible


def test_what_random_draws_miss_is_found_by_enumeration_in_a_small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    feasible = {chosen for chosen, cost in all_plans() if cost["macs"] <= 0.7 * MACS}
    searcher = Listed(tiny_task())
    searcher.outcomes = {chosen: Outcome(0.0) for chosen in feasible if chosen != C}
    monkeypatch.setattr(RankSpace, "random_plan", lambda space, rng, budget: A)
    assert searcher.unseen(np.random.default_rng(0)) == C
    searcher.outcomes[C] = Outcome(0.0)
    assert searcher.unseen(np.random.default_rng(0)) is None


def test_a_large_space_is_taken_as_exhausted_after_many_draws_of_known_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, drawn = Listed(tiny_task()), itertools.count()
    searcher.outcomes[A] = Outcome(0.0)

    def draw(space: RankSpace, rng: np.random.Generator, budget: Budget) -> RankPlan:
        next(drawn)
        return A

    monkeypatch.setattr(RankSpace, "random_plan", draw)
    monkeypatch.setattr("rank_search.searching.searcher.ENUMERABLE", 10)
    assert searcher.unseen(np.random.default_rng(0)) is None
    assert next(drawn) == 64


def test_a_name_is_registered_once_and_only_for_searchers() -> None:
    @register_searcher("listed_here")
    class Here(Listed):
        pass

    try:
        assert searchers.get("listed_here") is Here
        with pytest.raises(PluginError, match="the searcher name 'listed_here' is taken"):
            register_searcher("listed_here")(Listed)
    finally:
        searchers.unregister("listed_here")
    with pytest.raises(PluginError, match="the searcher name 'random' is taken"):
        register_searcher("random")(Listed)
    with pytest.raises(PluginError, match="not a subclass of Searcher"):
        register_searcher("some_dict")(dict)  # type: ignore[type-var]


def test_the_built_in_searchers_are_declared_as_a_strangers_are() -> None:
    assert {"uniform", "random", "knapsack", "tpe"} <= set(searchers.names())
    for name in ("uniform", "random", "knapsack", "tpe"):
        assert issubclass(searchers.get(name), Searcher)


def test_a_contract_left_open_cannot_be_built() -> None:
    class Half(Searcher):
        def step(self) -> Proposal:
            return Proposal(None)

    with pytest.raises(TypeError, match="abstract"):
        Half(tiny_task(), seed=0)  # type: ignore[abstract]


def test_an_option_is_one_of_those_allowed() -> None:
    allowed: tuple[str, ...] = ("relative", "none")
    assert one_of("weights", "none", allowed) == "none"
    wrong: Any = None
    for value in ("relativ", wrong):
        with pytest.raises(InvalidInputError, match=f"weights={value!r} is not allowed.*; it is one of relative, none"):
            one_of("weights", value, allowed)
