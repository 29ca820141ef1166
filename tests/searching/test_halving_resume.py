"""A search with multi-fidelity that is killed after any trial goes on to the same trials, counts and network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from halving_by_hand import bits, facts, trained_task
from tiny_task import TRAIN

import rank_search as rs
from rank_search.searching import SearchResult, Trial
from rank_search.searching.fidelity import SCHEDULERS, Fidelity
from rank_search.task import Limits, Task
from rank_search.task.meter import COUNTS

pytestmark = pytest.mark.usefixtures("single_thread")

LIMITS = Limits(evaluations=9)


def run(task: Task, scheduler: str, parallel: int, limits: Limits = LIMITS, **options: Any) -> SearchResult:
    fidelity = Fidelity(scheduler, eta=2)
    evolution = {"population": 4, "sample": 2}
    return rs.search(task, "evolution", limits, 5, parallel=parallel, fidelity=fidelity, **evolution, **options)


def killed_after(number: int) -> Callable[[Trial], None]:
    def callback(trial: Trial) -> None:
        if trial.number == number:
            raise KeyboardInterrupt

    return callback


def outcome(result: SearchResult) -> dict[str, Any]:
    assert result.trained is not None
    return {
        "trials": facts(result.trials),
        "meter": {name: result.meter[name] for name in COUNTS},
        "answer": (result.plan, result.score, result.cost, result.ended),
        "trained": bits(result.trained),
    }


@pytest.fixture(scope="module")
def task() -> Task:
    return trained_task()


@pytest.fixture(scope="module")
def undisturbed(task: Task) -> Callable[[str, int], dict[str, Any]]:
    known: dict[tuple[str, int], dict[str, Any]] = {}

    def whole(scheduler: str, parallel: int) -> dict[str, Any]:
        key = (scheduler, parallel)
        if key not in known:
            known[key] = outcome(run(task, scheduler, parallel))
        return known[key]

    return whole


@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("parallel", [1, 3, 4])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_killed_search_goes_on_to_the_same_end(
    task: Task,
    undisturbed: Callable[[str, int], dict[str, Any]],
    scheduler: str,
    parallel: int,
    number: int,
    tmp_path: Path,
) -> None:
    file = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        run(task, scheduler, parallel, callback=killed_after(number), checkpoint=file)
    assert outcome(run(task, scheduler, parallel, checkpoint=file)) == undisturbed(scheduler, parallel)


@pytest.mark.parametrize("parallel", [1, 3, 4])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_so_does_one_that_is_killed_after_every_trial(
    task: Task, undisturbed: Callable[[str, int], dict[str, Any]], scheduler: str, parallel: int, tmp_path: Path
) -> None:
    file = tmp_path / "state"
    for number in range(1, 10):
        with pytest.raises(KeyboardInterrupt):
            run(task, scheduler, parallel, callback=killed_after(number), checkpoint=file)
    assert outcome(run(task, scheduler, parallel, checkpoint=file)) == undisturbed(scheduler, parallel)


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_so_does_one_that_a_limit_on_samples_ends(task: Task, scheduler: str, parallel: int, tmp_path: Path) -> None:
    file, limits = tmp_path / "state", Limits(samples_trained=14 * TRAIN)
    whole = outcome(run(task, scheduler, parallel, limits))
    for number in range(1, len(whole["trials"]) + 1):
        with pytest.raises(KeyboardInterrupt):
            run(task, scheduler, parallel, limits, callback=killed_after(number), checkpoint=file)
    assert outcome(run(task, scheduler, parallel, limits, checkpoint=file)) == whole
