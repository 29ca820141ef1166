"""A Tuner of somebody else is killed in the middle, restored, and comes to its end: nothing lost, nothing repeated."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_task import all_plans

from rank_search.run.tune_record import tune_records
from rank_search.space import RankPlan

NAME, TRIALS, BEFORE_KILL, SECONDS = "killed", 12, 5, 300.0
LOOK_SECONDS = 0.1
FEASIBLE = {plan for plan, cost in all_plans() if cost["macs"] <= int(0.7 * (36 * 36 + 9 * 144 + 12))}
Run = subprocess.Popen[str]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Run]]:
    """Runs of a test, each a group of processes of its own; what is left of them ends with it."""
    runs: list[Run] = []
    yield runs
    for run in runs:
        kill(run)


def start(kind: str, folder: Path) -> Run:
    script = str(Path(__file__).parent / "killed_tuner.py")
    return subprocess.Popen(
        [sys.executable, script, kind, str(folder), NAME, str(TRIALS)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(run: Run) -> None:
    """Ends the driver and all that it started, as a lost machine would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait(SECONDS)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def put_down(folder: Path) -> set[RankPlan]:
    """The plans that have ended by the newest snapshot, which is taken at every step of the Tuner."""
    return {record.plan for record in tune_records(folder) or [] if record.finished and record.plan is not None}


@pytest.mark.parametrize("kind", ["house", "wrapped"])
def test_a_killed_tuner_is_restored_and_loses_and_repeats_nothing(
    kind: str, tmp_path: Path, started: list[Run]
) -> None:
    started.append(start(kind, tmp_path))
    until = time.monotonic() + SECONDS
    while len(put_down(tmp_path / NAME)) < BEFORE_KILL:
        assert started[0].poll() is None, started[0].communicate()[0]
        assert time.monotonic() < until
        time.sleep(LOOK_SECONDS)
    finished = put_down(tmp_path / NAME)
    time.sleep(LOOK_SECONDS)  # the searcher's file is copied after the other
    kill(started[0])
    assert not (tmp_path / "found.json").exists()

    started.append(start(kind, tmp_path))
    output, _ = started[1].communicate(timeout=SECONDS)
    assert output.splitlines()[-1:] == ["fitted"], output
    found = json.loads((tmp_path / "found.json").read_text())
    plans = [RankPlan.from_json(plan) for plan, _ in found]
    assert len(plans) == len(set(plans)) == TRIALS
    assert set(plans) <= FEASIBLE
    for plan, loss in found:
        assert loss == sum(rank for choice in RankPlan.from_json(plan).values() for rank in choice.ranks)
    begun = [RankPlan.from_json(plan) for plan in lines(tmp_path / "begun")]
    assert finished <= set(plans)
    assert all(begun.count(plan) == 1 for plan in finished)
