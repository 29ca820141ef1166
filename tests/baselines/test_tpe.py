"""TPE: every ask within the budget, nothing evaluated twice, restored as if never stopped, and better than chance."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from asking import asked
from tiny_task import MACS, all_plans, tiny_task
from torch import nn

from rank_search.baselines.tpe import TPE
from rank_search.errors import EvaluationError, InvalidInputError, SearcherError
from rank_search.searching import Trial, run_search, search
from rank_search.space import DENSE, Budget, RankPlan, RankSpace
from rank_search.task import Evaluation, Limits, Task
from rank_search.task.oracles import task_of

pytestmark = pytest.mark.usefixtures("single_thread")

FORMS = ("tucker2", "cp", "svd")


def test_every_ask_is_within_the_budget_and_none_comes_twice() -> None:
    for budget in (Budget(macs=0.5), Budget(macs=0.7, params=0.6)):
        task = tiny_task(budget, forms=FORMS)
        searcher, asked = TPE(task, seed=0, startup=4), []
        for number in range(15):
            plan = searcher.ask(())
            assert plan is not None
            task.admit(plan)
            asked.append(plan)
            searcher.hear(Trial(number + 1, plan, "done", float(number % 7)))
        assert len(set(asked)) == 15


def test_a_plan_that_is_named_again_is_neither_evaluated_nor_told_again() -> None:
    task = tiny_task(Budget(macs=0.5))
    searcher = TPE(task, seed=0, startup=5)
    proposals = asked(searcher, 12)
    trials = searcher.state_dict()["told"]
    assert task.meter.evaluations == len({proposal.plan for proposal in proposals}) == 12
    assert len(trials) == 12  # told twice, a point would draw the model to what it knows
    assert all(proposal.state == "done" for proposal in proposals)


def test_every_point_is_told_the_score_of_the_plan_it_is_projected_to() -> None:
    task = tiny_task(Budget(macs=0.5), forms=FORMS)
    searcher = TPE(task, seed=1, startup=4)
    asked(searcher, 8)
    trials = searcher.state_dict()["told"]
    assert len({tuple(params.values()) for params, _, _ in trials}) == len(trials)  # every ask draws anew
    for params, _, (score,) in trials:
        vector = []
        for options in task.space.layers:
            name, forms = options.layer.name, [form.name for form in options.forms]
            if len(forms) > 1:
                vector.append((forms.index(params[f"{name}/form"]) + 0.5) / len(forms))
            vector += [params[f"{name}/{mode}"] for mode in range(options.width)]
        plan = task.space.project(task.space.decode(np.array(vector)), task.budget)
        assert searcher.trials[plan].score == score


@pytest.mark.parametrize("forms", [("tucker2", "svd"), FORMS])
def test_a_warm_start_evaluates_the_knapsack_plan_first(forms: tuple[str, ...]) -> None:
    task = tiny_task(forms=forms)
    knapsack = search(task, "knapsack").plan
    warm = search(task, "tpe", Limits(evaluations=6), warm_start="knapsack")
    assert warm.trials[0].plan == knapsack
    assert warm.trials[0].score == task.evaluate(knapsack).score
    assert warm.trials[0].meter["decompositions"] == (3 if forms != FORMS else 5)
    assert len({step.plan for step in warm.trials}) == 6
    cold = search(task, "tpe", Limits(evaluations=6))
    assert cold.trials[0].plan != knapsack


@pytest.mark.parametrize("warm_start", [None, "knapsack"])
@pytest.mark.parametrize("stopped_after", [1, 7])
def test_a_restored_search_goes_on_exactly_as_it_would_have(stopped_after: int, warm_start: str | None) -> None:
    def build() -> TPE:
        return TPE(tiny_task(forms=FORMS), seed=2, startup=4, warm_start=warm_start)

    whole, first, second = build(), build(), build()
    expected = asked(whole, stopped_after + 5)
    assert asked(first, stopped_after) == expected[:stopped_after]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert asked(second, 5) == expected[stopped_after:]
    assert task_of(second.task).meter.evaluations == 5
    assert second.state_dict() == whole.state_dict()


def test_the_seed_decides_and_the_global_random_state_does_not() -> None:
    def plans(seed: int) -> list[RankPlan | None]:
        found = search(tiny_task(), "tpe", Limits(evaluations=10), seed, startup=4).trials
        return [step.plan for step in found]

    np.random.seed(0)
    first = plans(1)
    np.random.seed(1)
    assert plans(1) == first
    assert plans(2) != first


def test_a_tiny_space_is_exhausted() -> None:
    feasible = {plan for plan, cost in all_plans() if cost["macs"] <= 0.42 * MACS}
    result = search(tiny_task(Budget(macs=0.42)), "tpe", Limits(evaluations=1000), startup=3)
    found = [step.plan for step in result.trials]
    assert len(found) == len(feasible) >= 8
    assert set(found) == feasible
    assert (result.ended, result.meter["evaluations"]) == ("done", len(feasible))


def failing(task: Task, fails: Callable[[RankPlan], bool], attempts: list[RankPlan]) -> Task:
    """The task, whose evaluation of some plans fails."""
    evaluate = task.evaluate

    def sometimes(plan: RankPlan) -> Evaluation:
        attempts.append(plan)
        if fails(plan):
            raise EvaluationError("it did not converge")
        return evaluate(plan)

    task.evaluate = sometimes  # type: ignore[method-assign]
    return task


def test_evaluations_that_fail_do_not_stop_it_and_are_not_tried_again() -> None:
    attempts: list[RankPlan] = []
    task = failing(tiny_task(Budget(macs=0.6)), lambda plan: plan["head"] == DENSE, attempts)
    searcher = TPE(task, seed=0, startup=3, warm_start="knapsack")
    proposals = asked(searcher, 12)
    assert len(set(attempts)) == len(attempts) == 12
    failed = [proposal for proposal in proposals if proposal.score is None]
    assert 0 < len(failed) < 12
    for proposal in proposals:
        assert (proposal.plan["head"] == DENSE) == (proposal.failure == "it did not converge")
    restored = TPE(tiny_task(Budget(macs=0.6)), seed=0, startup=3, warm_start="knapsack")
    restored.load_state_dict(json.loads(json.dumps(searcher.state_dict())))
    told = [(plan, t.score, t.measures, t.failure) for plan, t in searcher.trials.items()]
    assert [(plan, t.score, t.measures, t.failure) for plan, t in restored.trials.items()] == told


def test_when_every_evaluation_fails_the_search_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(task: Task, plan: RankPlan) -> Evaluation:
        raise EvaluationError("it did not converge")

    monkeypatch.setattr(Task, "judge", always)
    with pytest.raises(
        SearcherError, match=r"^TPE found no plan \(all \d+ evaluations failed, the last: it did not con"
    ):
        search(tiny_task(Budget(macs=0.39)), "tpe", startup=2)


def test_the_model_finds_better_plans_than_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a table of 10^6 plans with the weight error as score, against random search with the same seeds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(4, 12, 3), nn.Conv2d(12, 12, 3), nn.Conv2d(12, 12, 3))
    space = RankSpace.from_model(net, torch.zeros(1, 4, 8, 8), forms=("tucker2",))
    assert space.size > 10**5
    task = Task(net, space, Budget(macs=0.5))
    monkeypatch.setattr(Task, "evaluate", lambda task, plan: Evaluation(task.weight_error(plan), {}, 1))

    scores = []
    for seed in range(2):
        searcher = TPE(task, seed=seed, startup=10)
        found = [trial.score or 0.0 for trial in asked(searcher, 35)]
        scores.append((np.mean(found[:10]), np.mean(found[-10:]), min(found)))
    start, end, best = np.mean(scores, axis=0)
    rng = np.random.default_rng(0)
    chance = [task.weight_error(space.random_plan(rng, task.budget)) for _ in range(300)]
    assert end < start
    assert end < np.mean(chance)
    assert best < np.quantile(chance, 0.03)


@pytest.mark.parametrize("warm_start", [None, "knapsack"])
def test_with_several_in_flight_no_plan_comes_twice_and_those_under_way_count_as_bad(warm_start: str | None) -> None:
    def searched(parallel: int) -> list[RankPlan]:
        task = tiny_task(Budget(macs=0.5), forms=FORMS).under(Budget(macs=0.5), limits=Limits(evaluations=14))
        searcher = TPE(task, seed=3, startup=4, warm_start=warm_start)
        return [trial.plan for trial in run_search(searcher, parallel=parallel).trials]

    one, four = searched(1), searched(4)
    assert len(set(four)) == len(four) == 14
    assert four == searched(4)
    assert one != four
    searcher = TPE(tiny_task(Budget(macs=0.5), forms=FORMS), seed=3, startup=4)
    asked(searcher, 8)
    plan = searcher.ask(())
    assert plan is not None
    pending = (Trial(9, plan),)
    before = len(searcher.trials)
    assert searcher.ask(pending) not in (None, plan)
    assert len(searcher.trials) == before == 8  # what is under way was not told


@pytest.mark.parametrize(("startup", "warm_start"), [(0, None), (-1, None), (5, "uniform"), (5, "")])
def test_options_that_mean_nothing_are_refused(startup: int, warm_start: str | None) -> None:
    wrong = f"startup={startup}" if startup < 1 else f"warm_start={warm_start!r}"
    with pytest.raises(InvalidInputError, match=f"{wrong} is not allowed: it is "):
        TPE(tiny_task(), seed=0, startup=startup, warm_start=warm_start)
