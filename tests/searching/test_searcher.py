"""The contract's own code: asking, telling, outcomes that are known, and plans that have none yet."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scripted import plan
from tiny_task import MACS, all_plans, tiny_task
from torch import nn

from rank_search.errors import (
    EvaluationError,
    InvalidInputError,
    LimitReached,
    OverBudgetError,
    PluginError,
    SearcherError,
)
from rank_search.searching import (
    AskTellSearcher,
    Proposal,
    Searcher,
    SearcherBase,
    Trial,
    evaluated,
    register_searcher,
    run_search,
    searchers,
)
from rank_search.searching.option_values import one_of
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.task import Evaluation, Limits, Oracles, Task
from rank_search.task.oracles import task_of

pytestmark = pytest.mark.usefixtures("single_thread")

A, B, C = plan(1, 1), plan(2, 1), plan(2, 2)


class Listed(AskTellSearcher):
    """Asks for the plans of a list, then for nothing."""

    def __init__(self, task: Task, *, seed: int = 0, plans: tuple[RankPlan, ...] = ()) -> None:
        super().__init__(task, seed=seed)
        self.plans, self.told = list(plans), list[Trial]()
        self.pending: list[list[int]] = []

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        self.pending.append([trial.number for trial in pending])
        return self.plans.pop(0) if self.plans else None

    def tell(self, trial: Trial) -> None:
        self.told.append(trial)


def known(chosen: RankPlan, score: float | None = 0.0) -> Trial:
    return Trial(1, chosen, "done", score)


def test_plans_are_evaluated_and_told_in_the_order_of_asking() -> None:
    task = tiny_task()
    searcher = Listed(task, plans=(A, B))
    expected = tiny_task().evaluate(A)
    result = run_search(searcher)
    assert [(trial.number, trial.plan, trial.state) for trial in searcher.told] == [(1, A, "done"), (2, B, "done")]
    assert (searcher.told[0].score, searcher.told[0].measures) == (expected.score, expected.measures)
    assert [trial.plan for trial in result.trials] == list(searcher.trials) == [A, B]
    assert searcher.pending == [[], [], []]
    assert (task.meter.evaluations, result.ended) == (2, "done")


@pytest.mark.parametrize("parallel", [2, 3, 5])
def test_up_to_so_many_are_in_flight_and_the_searcher_hears_which(parallel: int) -> None:
    plans = (A, B, C, plan(1, 2), plan(1, 1, head=True))
    one, many = Listed(tiny_task(), plans=plans), Listed(tiny_task(), plans=plans)
    alone, together = run_search(one), run_search(many, parallel=parallel)
    assert max(map(len, many.pending)) == parallel - 1 if parallel <= len(plans) else len(plans)
    assert many.pending[:parallel] == [list(range(1, n + 1)) for n in range(parallel)]
    assert [trial.number for trial in many.told] == [1, 2, 3, 4, 5]
    assert [(t.plan, t.score, t.measures, t.incumbent) for t in together.trials] == [
        (t.plan, t.score, t.measures, t.incumbent) for t in alone.trials
    ]


def test_a_limit_with_several_in_flight_is_not_passed_and_what_was_started_is_told() -> None:
    task = tiny_task().under(Budget(macs=0.7), limits=Limits(evaluations=3))
    searcher = Listed(task, plans=(A, B, C, plan(1, 2)))
    result = run_search(searcher, parallel=2)
    assert (len(result.trials), task.meter.evaluations, result.ended) == (3, 3, "evaluations")


def test_parallel_is_a_whole_number_from_1() -> None:
    wrong: Any
    for wrong in (0, -1, True, 1.5, "2"):
        with pytest.raises(InvalidInputError, match=f"parallel={wrong!r} is not allowed"):
            run_search(Listed(tiny_task(), plans=(A,)), parallel=wrong)


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_a_plan_asked_for_again_is_told_what_is_known_without_an_evaluation(parallel: int) -> None:
    task = tiny_task()
    searcher = Listed(task, plans=(A, RankPlan(dict(reversed(list(A.items())))), B, A))
    result = run_search(searcher, parallel=parallel)
    assert task.meter.evaluations == 2
    assert [trial.state for trial in result.trials] == ["done", "cached", "done", "cached"]
    assert len({(trial.score, *trial.measures.values()) for trial in result.trials}) == 2
    assert len(searcher.told) == 4


class Failing(Task):
    """No plan can be evaluated."""

    def judge(self, plan: RankPlan) -> Evaluation:
        raise EvaluationError("no finite\n  CP")


def test_a_failure_is_known_too() -> None:
    searcher = Listed(failing_task(), plans=(A, A))
    with pytest.raises(SearcherError, match="all 2 evaluations failed, the last: no finite CP"):
        run_search(searcher)
    assert [(trial.state, trial.score, trial.failure) for trial in searcher.told] == [
        ("failed", None, "no finite CP"),
        ("cached", None, "no finite CP"),
    ]


def failing_task() -> Task:
    task = tiny_task()
    return Failing(task.model, task.space, task.budget, task.data)


def test_a_searcher_with_nothing_to_ask_for_found_no_plan() -> None:
    searcher = Listed(tiny_task())
    with pytest.raises(SearcherError, match="it proposed nothing; ended: done"):
        run_search(searcher)
    assert searcher.told == []


def test_what_was_told_survives_a_state_in_json() -> None:
    first = Listed(tiny_task(), plans=(A, B))
    run_search(first)
    second = Listed(tiny_task(), plans=(A, B, C))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert {p: (t.score, t.measures) for p, t in second.trials.items()} == {
        p: (t.score, t.measures) for p, t in first.trials.items()
    }
    assert [trial.state for trial in run_search(second).trials] == ["cached", "cached", "done"]
    assert task_of(second.task).meter.evaluations == 1


def test_a_searcher_sees_neither_the_data_nor_another_task_nor_the_network_itself() -> None:
    task = tiny_task()
    seen = Listed(task).task
    for hidden in ("data", "under", "model", "meter", "validate", "finetune", "judge", "compress"):
        assert not hasattr(seen, hidden), hidden
    copied = seen.dense_model()
    with torch.no_grad():
        next(copied.parameters()).zero_()
    assert next(task.model.parameters()).abs().sum() > 0
    assert seen.evaluate(A) == tiny_task().evaluate(A)
    assert seen.spent["evaluations"] == task.meter.evaluations == 1


def test_an_evaluation_that_fails_is_an_outcome_but_limits_and_budgets_are_not() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    task = tiny_task(Budget(macs=0.9), net=net)
    with torch.no_grad():
        net[2].bias[0] = torch.nan
    cheap = task.space.project(task.space.dense, task.budget)
    failed = evaluated(Oracles(task), cheap)
    assert (failed.score, failed.measures) == (None, {})
    assert failed.failure == "the validation loss is nan: the network's outputs are not finite"
    with pytest.raises(OverBudgetError):
        evaluated(Oracles(task), task.space.dense)
    with pytest.raises(LimitReached):
        evaluated(Oracles(task.under(task.budget, limits=Limits(samples_forward=1))), cheap)


def test_unseen_plans_are_within_the_budget_new_and_in_a_small_space_all_there_are() -> None:
    budget = Budget(macs=0.45)
    feasible = {chosen for chosen, cost in all_plans() if cost["macs"] <= 0.45 * MACS}
    searcher, rng = Listed(tiny_task(budget)), np.random.default_rng(0)
    found: list[RankPlan] = []
    while (chosen := searcher.unseen(rng)) is not None:
        found.append(chosen)
        searcher.trials[chosen] = known(chosen)
    assert len(found) == len(set(found)) == len(feasible) > 5
    assert set(found) == feasible


def test_what_random_draws_miss_is_found_by_enumeration_in_a_small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    feasible = {chosen for chosen, cost in all_plans() if cost["macs"] <= 0.7 * MACS}
    searcher = Listed(tiny_task())
    searcher.trials = {chosen: known(chosen) for chosen in feasible if chosen != C}
    monkeypatch.setattr(RankSpace, "random_plan", lambda space, rng, budget: A)
    assert searcher.unseen(np.random.default_rng(0)) == C
    searcher.trials[C] = known(C)
    assert searcher.unseen(np.random.default_rng(0)) is None


def test_a_large_space_is_taken_as_exhausted_after_many_draws_of_known_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, drawn = Listed(tiny_task()), itertools.count()
    searcher.trials[A] = known(A)

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
        earlier = Here

        @register_searcher("listed_here")  # as when the cell of a notebook runs again
        class Here(Listed):  # type: ignore[no-redef]
            pass

        assert searchers.get("listed_here") is Here is not earlier
    finally:
        searchers.unregister("listed_here")
    with pytest.raises(PluginError, match="the searcher name 'random' is taken"):
        register_searcher("random")(Listed)
    with pytest.raises(PluginError, match="not a subclass of Searcher"):
        register_searcher("some_dict")(dict)  # type: ignore[type-var]


def test_the_built_in_searchers_are_declared_as_a_strangers_are() -> None:
    assert {"uniform", "random", "knapsack", "tpe"} <= set(searchers.names())
    for name in ("uniform", "random", "knapsack", "tpe"):
        assert issubclass(searchers.get(name), SearcherBase)


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
