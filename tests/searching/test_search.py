"""``rank_search.search``: finding a searcher, refusing what cannot work, and leaving the caller's task alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from scripted import plan
from tiny_task import tiny_task

import rank_search
from rank_search.baselines.knapsack import Knapsack
from rank_search.errors import (
    DataError,
    InvalidInputError,
    LimitReached,
    PluginError,
    SearcherError,
    UnknownNameError,
)
from rank_search.searching import Proposal, Searcher, make_searcher, register_searcher, search, searchers
from rank_search.space import Budget
from rank_search.task import Limits, Task
from rank_search.task.meter import COUNTS

pytestmark = pytest.mark.usefixtures("single_thread")

MODULE = """
from rank_search.searching import Proposal, Searcher

class Mine(Searcher):
    needs_data = False
    done = False

    def __init__(self, task, *, seed, rank=1):
        super().__init__(task, seed=seed)
        self.rank = rank

    def step(self):
        self.done = True
        plan = self.task.space.plan(self.task.space.minimise(self.task.relative_errors(), self.task.budget).indices)
        return Proposal(plan, float(self.rank))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

class Holder:
    Inner = Mine

not_a_searcher = dict
"""


class Once(Searcher):
    """Proposes one plan; takes any option."""

    needs_data: ClassVar[bool] = False
    done = False

    def __init__(self, task: Task, *, seed: int, **options: Any) -> None:
        super().__init__(task, seed=seed)
        self.options = options

    def step(self) -> Proposal:
        self.done = True
        return Proposal(plan(1), float(self.seed), info=self.options)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "searcher_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "searcher_of_mine"


@pytest.mark.parametrize(("name", "known"), [("knapsak", "knapsack"), ("Random", "random"), ("unifrom", "uniform")])
def test_an_unknown_searcher_is_refused_with_the_nearest_name(name: str, known: str) -> None:
    message = rf"unknown searcher '{name}' \(did you mean '{known}'\?\); known: .*knapsack.*, or give 'module:Class'"
    with pytest.raises(UnknownNameError, match=message):
        search(tiny_task(), name)


def test_an_unknown_option_is_refused_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(InvalidInputError, match=r"TPE has no option 'startups' \(did you mean 'startup'\?\); it has: "):
        search(tiny_task(), "tpe", startups=3)
    with pytest.raises(InvalidInputError, match="Random has no option 'startup'; it has: none"):
        search(tiny_task(), "random", startup=3)
    with pytest.raises(InvalidInputError, match=r"weights='relativ' is not allowed \(did you mean 'relative'\?\)"):
        search(tiny_task(), "knapsack", weights="relativ")


def test_a_searcher_that_takes_any_option_gets_it() -> None:
    assert search(tiny_task(), Once, colour="red").trials[0].info == {"colour": "red"}


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_searcher_that_needs_data_is_refused_without(name: str) -> None:
    with pytest.raises(DataError, match=f"the searcher '{name}' needs data, and this task has none"):
        search(tiny_task(data=False), name)


@pytest.mark.parametrize("name", ["uniform", "knapsack"])
def test_a_searcher_that_needs_none_runs_without(name: str) -> None:
    task = tiny_task(data=False)
    task.admit(search(task, name).plan)


def test_a_class_can_be_given_instead_of_its_name() -> None:
    task = tiny_task()
    by_name, by_class = search(task, "knapsack"), search(task, Knapsack)
    assert (by_class.plan, by_class.score, by_class.lower_bound) == (by_name.plan, by_name.score, by_name.lower_bound)
    assert search(task).plan == by_name.plan


def test_a_class_can_be_named_by_its_module(my_module: str) -> None:
    assert search(tiny_task(), f"{my_module}:Mine", rank=7).score == 7
    assert search(tiny_task(), f"{my_module}:Holder.Inner").score == 1
    assert search(tiny_task(), "rank_search.baselines.knapsack:Knapsack").plan == search(tiny_task(), "knapsack").plan


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("{}:Mime", UnknownNameError, r"has no 'Mime' \(did you mean 'Mine'\?\)"),
        ("no_such_module_here:Mine", UnknownNameError, "No module named 'no_such_module_here'"),
        ("{}:not_a_searcher", PluginError, "which is not a subclass of Searcher"),
    ],
)
def test_a_module_and_class_that_lead_nowhere_are_refused(
    my_module: str, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        search(tiny_task(), name.format(my_module))


def test_a_registered_searcher_is_found_by_its_name() -> None:
    register_searcher("once_for_all")(Once)
    try:
        assert search(tiny_task(), "once_for_all", seed=5).score == 5
        assert "once_for_all" in searchers.names()
    finally:
        searchers.unregister("once_for_all")
    with pytest.raises(UnknownNameError):
        search(tiny_task(), "once_for_all")


def test_a_constructor_that_raises_becomes_one_clear_line() -> None:
    class Broken(Once):
        def __init__(self, task: Task, *, seed: int, error: Exception) -> None:
            raise error

    said = r"^Broken\(\.\.\.\) raised ZeroDivisionError: a b \(test_search\.py:\d+ in __init__\)$"
    with pytest.raises(SearcherError, match=said):
        make_searcher(tiny_task(), Broken, 0, error=ZeroDivisionError("a\nb"))
    with pytest.raises(LimitReached, match=r"^stop$"):
        make_searcher(tiny_task(), Broken, 0, error=LimitReached("stop"))


def test_the_callers_task_and_meter_are_left_alone() -> None:
    task = tiny_task()
    result = search(task, "random", Limits(evaluations=3))
    assert result.meter["evaluations"] == 3
    assert [task.meter.reading()[name] for name in COUNTS] == [0, 0, 0, 0]
    assert task.used() == []
    task.meter.charge(evaluations=100)
    assert search(task, "random", Limits(evaluations=3)).meter["evaluations"] == 3


def test_a_search_spends_32_evaluations_unless_told() -> None:
    assert search(tiny_task(), "random").meter["evaluations"] == 32
    assert search(tiny_task(), "random", Limits(evaluations=40)).meter["evaluations"] == 40


def test_the_seed_decides() -> None:
    def plans(seed: int) -> list[Any]:
        return [step.plan for step in search(tiny_task(), "random", Limits(evaluations=8), seed).trials]

    assert plans(1) == plans(1)
    assert plans(1) != plans(2)


def test_search_is_the_package_s_own_and_returns_a_plan_within_the_budget() -> None:
    assert rank_search.search is search
    for budget in (Budget(macs=0.5), Budget(params=0.6), Budget(macs=0.9, params=0.5)):
        task = tiny_task(budget)
        result = search(task, "random", Limits(evaluations=4))
        assert result.cost == task.admit(result.plan)
