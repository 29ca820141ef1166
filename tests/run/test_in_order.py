"""A searcher whose plans somebody else evaluates hears of them in the order of asking."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_task import all_plans, tiny_task

from rank_search.errors import EvaluationError, SearcherError
from rank_search.run.in_order import InOrder, Outcome
from rank_search.searching import AskTellSearcher, Trial, make_searcher
from rank_search.space import Budget, RankPlan
from rank_search.states import load_state, save_state
from rank_search.task import Evaluation, Limits, Task

SEARCHERS = ["random", "evolution", "cmaes", "tpe"]
HAND = {plan: cost["macs"] for plan, cost in all_plans()}
FEASIBLE = {plan for plan, macs in HAND.items() if macs <= int(0.7 * (36 * 36 + 9 * 144 + 12))}


def driven(name: str, limits: Limits | None = None, seed: int = 0) -> InOrder:
    task = tiny_task().under(Budget(macs=0.7), limits=limits)
    searcher = make_searcher(task, name, seed)
    assert isinstance(searcher, AskTellSearcher)
    return InOrder(name, searcher, task)


def outcome(plan: RankPlan) -> Outcome:
    worth = float(sum(sum(choice.ranks) for choice in plan.values()))
    return EvaluationError("it broke") if worth % 5 == 0 else Evaluation(worth, {"loss": worth}, 1)


def rounds(search: InOrder, count: int, shuffled: int | None, size: int = 4) -> list[Trial]:
    """Asks for some plans, ends them in order or shuffled, and so on."""
    order = random.Random(shuffled)
    for turn in range(count):
        plans = {f"{turn}-{i}": plan for i in range(size) if (plan := search.next(f"{turn}-{i}")) is not None}
        names = list(plans)
        if shuffled is not None:
            order.shuffle(names)
        for name in names:
            search.finish(name, outcome(plans[name]))
    return [trial for trial in search.trials if trial.state != "cached"]


@pytest.mark.parametrize("name", SEARCHERS)
def test_the_order_of_the_ends_changes_nothing(name: str) -> None:
    straight = rounds(driven(name), 6, None)
    assert len(straight) >= 18
    for seed in range(3):
        assert rounds(driven(name), 6, seed) == straight
    assert [trial.number for trial in straight] == sorted(trial.number for trial in straight)


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_plan_is_within_the_budget_and_comes_once_until_none_is_left(name: str) -> None:
    search = driven(name)
    trials = rounds(search, 60, 1)
    plans = [trial.plan for trial in trials]
    assert set(plans) <= FEASIBLE
    assert len(plans) == len(set(plans)) == len(FEASIBLE)
    assert search.ended == "done"
    assert any(trial.state == "failed" and trial.failure == "it broke" for trial in trials)


def test_what_ends_first_waits_for_what_was_asked_for_first() -> None:
    search = driven("random")
    first, second = search.next("a"), search.next("b")
    assert first is not None
    assert second is not None
    search.finish("b", outcome(second))
    search.finish("b", EvaluationError("again"))
    search.finish("nobody", outcome(second))
    assert search.trials == []
    search.finish("a", outcome(first))
    assert [trial.plan for trial in search.trials] == [first, second]


def test_a_limit_on_evaluations_ends_it() -> None:
    search = driven("evolution", Limits(evaluations=7))
    assert len(rounds(search, 5, 0)) == 7
    assert search.ended == "evaluations"


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_restored_search_asks_for_the_same_plans(name: str, tmp_path: Path) -> None:
    search = driven(name)
    rounds(search, 4, 0)
    open_plans = {key: plan for key in "xyz" if (plan := search.next(key)) is not None}
    save_state(tmp_path / "state", search.state_dict())
    other = driven(name)
    other.load_state_dict(load_state(tmp_path / "state"))
    for key in reversed(open_plans):
        for one in (search, other):
            one.finish(key, outcome(open_plans[key]))
    assert [other.next(str(i)) for i in range(10)] == [search.next(str(i)) for i in range(10)]
    assert other.trials == search.trials


def test_what_the_other_side_knows_is_taken_over() -> None:
    """Of three plans in flight the first is lost, the second ended, the third runs; two more are known there only."""
    search, ahead = driven("random"), driven("random")
    plans = [search.next(key) for key in "abc"]
    later = [ahead.next(str(i)) for i in range(6)]
    assert later[:3] == plans
    assert None not in later
    known: dict[str, tuple[RankPlan, Outcome | None]] = {
        "b": (later[1], outcome(later[1])),  # type: ignore[dict-item, arg-type]
        "c": (later[2], None),  # type: ignore[dict-item]
        "d": (later[3], outcome(later[3])),  # type: ignore[dict-item, arg-type]
        "e": (later[4], None),  # type: ignore[dict-item]
    }
    search.reconcile(known)
    assert search.next("a2") == plans[0]
    assert search.next("f") == later[5]
    for key, plan in (("f", later[5]), ("e", later[4]), ("c", later[2]), ("a2", later[0])):
        assert plan is not None
        search.finish(key, outcome(plan))
    assert [trial.plan for trial in search.trials] == later


class Scripted(AskTellSearcher):
    """Asks for what a list says, None or an error among it."""

    def __init__(self, task: Task, script: Sequence[Any]) -> None:
        super().__init__(task, seed=0)
        self.script, self.heard = list(script), [0]

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        action = self.script.pop(0) if self.script else None
        if isinstance(action, Exception):
            raise action
        return action  # type: ignore[no-any-return]

    def tell(self, trial: Trial) -> None:
        if trial.score == 13:
            raise RuntimeError("unlucky")

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)


def scripted(script: Sequence[Any]) -> InOrder:
    task = tiny_task()
    return InOrder("Scripted", Scripted(task, script), task)


def test_a_plan_that_is_asked_for_again_is_answered_from_what_is_known() -> None:
    one, two, three = sorted(FEASIBLE, key=repr)[:3]
    search = scripted([one, one, two, one, three])
    assert search.next("a") == one
    assert search.next("b") == two
    search.finish("a", Evaluation(3.0, {}, 1))
    assert search.next("c") == three
    assert [(trial.plan, trial.state, trial.score) for trial in search.trials] == [
        (one, "done", 3.0),
        (one, "cached", 3.0),
    ]


def test_it_waits_for_what_is_pending_and_then_asks_again() -> None:
    one, two = sorted(FEASIBLE, key=repr)[:2]
    search = scripted([one, None, two])
    assert search.next("a") == one
    assert [search.next(str(i)) for i in range(5)] == [None] * 5
    assert search.ended is None
    search.finish("a", Evaluation(1.0, {}, 1))
    assert search.next("b") == two


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (ValueError("bad luck"), r"Scripted raised ValueError: bad luck"),
        ("plan", r"Scripted proposed a str, not a RankPlan"),
        (RankPlan({}), r"Scripted proposed a plan that is not allowed: the plan costs 2604 macs"),
    ],
)
def test_a_broken_searcher_is_one_clear_error(action: Any, message: str) -> None:
    with pytest.raises(SearcherError, match=message):
        scripted([action]).next("a")


def test_an_error_in_telling_is_raised_when_the_next_plan_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    search = scripted(sorted(FEASIBLE, key=repr)[:3])
    search.next("a")
    search.finish("a", Evaluation(13.0, {}, 1))
    assert "Scripted raised RuntimeError: unlucky" in caplog.text
    with pytest.raises(SearcherError, match="unlucky"):
        search.next("b")
