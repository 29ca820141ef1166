"""Seconds end a step that hangs, whatever it catches and wherever it runs; what was found before is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import plan
from tiny_task import tiny_task

from rank_search.errors import SearcherError
from rank_search.searching import Proposal, Searcher, SearchResult, make_searcher, run_search
from rank_search.searching.watchdog import TimeUp, Watchdog
from rank_search.space import Budget
from rank_search.task import Limits
from rank_search.task.meter import Meter

LONG = 3600.0


def sleeps() -> None:
    time.sleep(LONG)


def spins() -> None:
    while True:
        try:
            sum(range(10**4))
        except Exception:
            continue


def sleeps_in_pieces() -> None:
    while True:
        time.sleep(0.01)


class Hanging(Searcher):
    """Proposes a plan so many times, then hangs."""

    def __init__(self, task: Any, *, seed: int, hang: Callable[[], None], after: int) -> None:
        super().__init__(task, seed=seed)
        self.hang, self.after = hang, after

    @property
    def done(self) -> bool:
        return False

    def step(self) -> Proposal:
        self.after -= 1
        if self.after < 0:
            self.hang()
        self.task.charge(evaluations=1)
        return Proposal(plan(1, 1), float(self.after))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


def run(hang: Callable[[], None], after: int, **limits: float) -> SearchResult:
    task = tiny_task(Budget(macs=0.7)).under(Budget(macs=0.7), limits=Limits(**limits))  # type: ignore[arg-type]
    return run_search(Hanging(task, seed=0, hang=hang, after=after))


@pytest.mark.parametrize("hang", [sleeps, spins, sleeps_in_pieces])
def test_a_hanging_step_ends_with_the_wall_seconds_and_what_was_found_stays(hang: Callable[[], None]) -> None:
    began = time.monotonic()
    result = run(hang, 3, wall_seconds=0.5)
    assert (result.ended, len(result.trials), result.score) == ("wall_seconds", 3, 0.0)
    assert 1.4 < time.monotonic() - began < 300


def test_a_spinning_step_ends_with_the_cpu_seconds() -> None:
    assert run(spins, 1, cpu_seconds=0.5).ended == "cpu_seconds"


@pytest.mark.parametrize("method", ["trained", "state_dict"])
def test_what_comes_after_the_last_step_is_not_cut_off(method: str, tmp_path: Path) -> None:
    """The answer and the checkpoint of a search whose time is up may take a moment."""

    def slow(searcher: Hanging) -> Any:
        if searcher.after <= 0:
            time.sleep(1.5)
        return {} if method == "state_dict" else None

    kind = type("Slow", (Hanging,), {method: slow})
    task = tiny_task(Budget(macs=0.7)).under(Budget(macs=0.7), limits=Limits(wall_seconds=0.2))
    result = run_search(kind(task, seed=0, hang=lambda: time.sleep(0.3), after=1), tmp_path / "state")
    assert result.ended == "wall_seconds"
    assert result.score == 0.0 or result.score == -1.0


def test_without_a_plan_it_is_an_error_that_names_the_limit() -> None:
    with pytest.raises(SearcherError, match=r"^Hanging found no plan \(it proposed nothing; ended: wall_seconds\)$"):
        run(spins, 0, wall_seconds=0.5)


def test_a_thread_that_is_not_the_main_one_is_interrupted_in_python() -> None:
    found: list[SearchResult] = []
    thread = threading.Thread(target=lambda: found.append(run(sleeps_in_pieces, 2, wall_seconds=0.5)))
    thread.start()
    thread.join(300)
    assert [result.ended for result in found] == ["wall_seconds"]


def test_a_constructor_that_hangs_is_an_error() -> None:
    class Slow(Hanging):
        def __init__(self, task: Any, *, seed: int) -> None:
            super().__init__(task, seed=seed, hang=spins, after=0)
            self.hang()

    task = tiny_task().under(Budget(macs=0.7), limits=Limits(wall_seconds=0.5))
    with pytest.raises(SearcherError, match=r"^Slow\(\.\.\.\) did not end within its limit on seconds$"):
        make_searcher(task, Slow, 0)


def test_what_cannot_be_interrupted_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that catches even the interruption: after a while somebody else must end the process."""
    monkeypatch.setattr("rank_search.searching.watchdog.GIVE_UP_SECONDS", 1.0)
    monkeypatch.setattr("rank_search.searching.watchdog.AGAIN_SECONDS", 0.2)
    told: list[str] = []
    meter = Meter(Limits(wall_seconds=0.1))
    meter.hopeless = told.append
    watchdog = Watchdog(meter)
    with watchdog.watching(), watchdog.step():
        while not told:
            try:
                time.sleep(0.01)
            except TimeUp:
                continue
    assert set(told) == {"wall_seconds"}


def test_no_thread_watches_without_a_limit_on_seconds_and_none_stays() -> None:
    before = set(threading.enumerate())
    with Watchdog(Meter(Limits(evaluations=3))).watching():
        assert set(threading.enumerate()) == before
    with Watchdog(Meter(Limits(wall_seconds=60))).watching():
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) == before


def test_nothing_outside_of_a_step_is_interrupted() -> None:
    watchdog = Watchdog(Meter(Limits(wall_seconds=0.05)))
    with watchdog.watching():
        time.sleep(1.5)
        with watchdog.step():
            pass
        time.sleep(0.3)
