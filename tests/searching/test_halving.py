"""Searches with multi-fidelity: trial for trial those of a second implementation; limits, the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from halving_by_hand import BUDGET, ByHand, Replay, bits, trained_task
from scripted import plan
from tiny_task import TRAIN, tiny_task

import rank_search as rs
from rank_search.errors import DataError, EvaluationError, InvalidInputError
from rank_search.searching import AskTellSearcher, SearchResult, Trial
from rank_search.searching.fidelity import Fidelity
from rank_search.searching.workers import Job, TaskWorker
from rank_search.space import RankPlan
from rank_search.task import Limits, Oracles, Task
from rank_search.task.meter import COUNTS

pytestmark = pytest.mark.usefixtures("single_thread")

SCHEDULERS = ["asha", "successive_halving"]
MANY = Limits(evaluations=9)
EVOLUTION = {"population": 4, "sample": 2}


@pytest.fixture(scope="module")
def task() -> Task:
    return trained_task()


@pytest.fixture(scope="module")
def hand(task: Task) -> ByHand:
    return ByHand(task, (1, 2, 4))


def fidelity(scheduler: str) -> Fidelity:
    return Fidelity(scheduler, eta=2)


def run(
    task: Task, scheduler: str, parallel: int = 1, limits: Limits = MANY, searcher: Any = "random", **options: Any
) -> SearchResult:
    return rs.search(task, searcher, limits=limits, seed=5, parallel=parallel, fidelity=fidelity(scheduler), **options)


class Listed(AskTellSearcher):
    """Asks for the plans of a list."""

    def __init__(self, task: Oracles, *, seed: int, plans: Sequence[RankPlan]) -> None:
        super().__init__(task, seed=seed)
        self._plans, self._at = list(plans), 0

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        self._at += 1
        return self._plans[self._at - 1] if self._at <= len(self._plans) else None

    def tell(self, trial: Trial) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "at": self._at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._at = int(state["at"])


def check(task: Task, hand: ByHand, scheduler: str, parallel: int, limits: Limits, result: SearchResult) -> None:
    """Against the second implementation: every trial, the meter after it, the answer and its network."""
    expected = Replay(hand, scheduler, 2, parallel, limits).of([trial.plan for trial in result.trials])
    found = [
        (trial.score, trial.info.get("epochs"), {name: trial.meter[name] for name in COUNTS}) for trial in result.trials
    ]
    assert found == expected.trials
    assert result.ended == expected.ended
    done = [trial for trial in result.trials if trial.state == "done"]
    assert result.meter["evaluations"] == len(done) == len({trial.plan for trial in result.trials})
    assert result.meter["samples_trained"] == TRAIN * sum(trial.info["epochs"] for trial in done)
    best = min(done, key=lambda trial: (trial.score, trial.number))
    assert (result.plan, result.score) == (best.plan, best.score)
    assert result.trained is not None
    assert bits(result.trained) == bits(hand.network(best.plan, best.info["epochs"]))


# -- trial for trial ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 2, 3, 4, 9, 20])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("searcher", "options"), [("random", {}), ("evolution", EVOLUTION)], ids=["random", "evol"])
def test_a_search_is_that_of_the_definition(
    task: Task, hand: ByHand, searcher: str, options: dict[str, Any], scheduler: str, parallel: int
) -> None:
    result = run(task, scheduler, parallel, searcher=searcher, **options)
    check(task, hand, scheduler, parallel, MANY, result)
    assert len(result.trials) == 9
    if parallel > 1 or scheduler == "asha":
        assert len({trial.info["epochs"] for trial in result.trials}) > 1


@pytest.mark.parametrize("parallel", [1, 2, 3, 4])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_plan_that_is_asked_for_again_is_neither_trained_nor_charged(
    task: Task, hand: ByHand, scheduler: str, parallel: int
) -> None:
    a, b, c, d = plan(1, 1), plan(2, 1), plan(2, 2), plan(1, 2, head=True)
    result = run(task, scheduler, parallel, searcher=Listed, plans=[a, b, a, c, c, b, d, a])
    check(task, hand, scheduler, parallel, MANY, result)
    assert [trial.state for trial in result.trials] == [
        "cached" if again else "done" for again in (0, 0, 1, 0, 1, 1, 0, 1)
    ]
    assert result.ended == "done"


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 8, 11, 14, 17, 20])
def test_a_limit_on_trained_samples_is_never_passed(
    task: Task, hand: ByHand, epochs: int, scheduler: str, parallel: int
) -> None:
    """A trial without room ends at the rung that it has reached."""
    for limit in (epochs * TRAIN, (epochs + 1) * TRAIN - 1):
        limits = Limits(samples_trained=limit)
        result = run(task, scheduler, parallel, limits)
        check(task, hand, scheduler, parallel, limits, result)
        assert all(trial.meter["samples_trained"] <= limit for trial in result.trials)
        assert result.meter["samples_trained"] == epochs * TRAIN  # one of so few epochs finds room for the last


def test_a_recipe_of_one_rung_trains_every_plan_to_its_end(task: Task) -> None:
    hand = ByHand(task, (4,))
    for scheduler in SCHEDULERS:
        result = rs.search(
            task, "random", limits=Limits(evaluations=3), parallel=2, fidelity=Fidelity(scheduler, 2, min_epochs=4)
        )
        assert [(trial.score, trial.info["epochs"]) for trial in result.trials] == [
            (hand.scores(trial.plan)[0], 4) for trial in result.trials
        ]


def test_the_last_rung_may_lie_before_the_end_of_the_recipe(task: Task) -> None:
    """The learning rate is that of the whole recipe all the same."""
    hand = ByHand(task, (1, 3))
    result = rs.search(
        task, "random", limits=Limits(evaluations=4), parallel=2, fidelity=Fidelity("asha", 3, max_epochs=3)
    )
    expected = Replay(hand, "asha", 3, 2, Limits(evaluations=4)).of([trial.plan for trial in result.trials])
    assert [(trial.score, trial.info["epochs"]) for trial in result.trials] == [
        (score, epochs) for score, epochs, _ in expected.trials
    ]


def test_the_network_is_one_that_a_fine_tune_goes_on_from(task: Task) -> None:
    result = run(task, "asha", 2)
    own = task.under(BUDGET)
    own.finetune(result.plan, 1, result.trained)
    assert {name: own.meter.reading()[name] for name in COUNTS} == {
        **dict.fromkeys(COUNTS, 0),
        "samples_trained": TRAIN,
    }


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("rung", [1, 2, 4])
def test_a_training_that_fails_is_a_failed_trial_and_the_others_go_on(
    task: Task, hand: ByHand, rung: int, scheduler: str, parallel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    do, failed = TaskWorker.do, set[int]()

    def failing(self: TaskWorker, job: Job) -> Any:
        if job.epochs == rung and job.number in (1, 2, 6):
            failed.add(job.number)
            return EvaluationError("it\n broke")
        return do(self, job)

    monkeypatch.setattr(TaskWorker, "do", failing)
    result = run(task, scheduler, parallel)
    assert len(result.trials) == 9
    assert failed
    for trial in result.trials:
        if trial.number in failed:
            assert (trial.state, trial.score, trial.failure) == ("failed", None, "it broke")
        else:
            assert trial.state == "done"
            assert trial.score == hand.scores(trial.plan)[(1, 2, 4).index(trial.info["epochs"])]
    assert result.plan not in [trial.plan for trial in result.trials if trial.number in failed]


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("searcher", ["uniform", "knapsack", "relaxation"])
def test_a_searcher_that_goes_its_own_way_is_refused_in_a_line(task: Task, searcher: str) -> None:
    with pytest.raises(InvalidInputError, match=r"goes its own way, step by step: only .* can have a fidelity$") as no:
        run(task, "asha", searcher=searcher)
    assert "\n" not in str(no.value)


def test_so_is_a_task_without_data_and_one_whose_recipe_is_too_short() -> None:
    with pytest.raises(DataError, match="data") as caught:
        run(tiny_task(BUDGET, data=False), "asha")
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInputError, match=r"^fidelity of 3 to 2 epochs does not fit finetune epochs=2: "):
        rs.search(tiny_task(BUDGET), "random", fidelity=Fidelity(min_epochs=3))
