"""Work that no meter saw is told by the CPU time that it took."""

from __future__ import annotations

import time
from typing import Any

import pytest
from scripted import plan
from tiny_task import tiny_task

from rank_search.searching import Proposal, Searcher, run_search
from rank_search.searching.searcher import evaluated
from rank_search.space import Budget


class Busy(Searcher):
    """Evaluates once and works for itself for so many CPU seconds."""

    def __init__(self, task: Any, *, seed: int = 0, seconds: float = 0.0) -> None:
        super().__init__(task, seed=seed)
        self.seconds, self.over = seconds, False

    @property
    def done(self) -> bool:
        return self.over

    def step(self) -> Proposal:
        began = time.process_time()
        while time.process_time() - began < self.seconds:
            sum(range(1000))
        self.over = True
        return evaluated(self.task, plan(1, 1))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rank_search.searching.off_the_meter.LEAST_SECONDS", 0.3)


def test_a_search_that_works_off_the_meter_says_so(soon: None) -> None:
    (remark,) = run_search(Busy(tiny_task(Budget(macs=0.8)), seconds=3.0)).remarks
    assert remark.startswith("3 CPU s outside of metered work, ")
    assert remark.endswith("samples that it was charged for take")


def test_a_search_that_works_on_the_meter_does_not(soon: None) -> None:
    assert run_search(Busy(tiny_task(Budget(macs=0.8)))).remarks == ()


def test_operators_that_were_not_counted_stand_in_the_result() -> None:
    task = tiny_task(Budget(macs=0.8))
    task.space.not_counted = ("fft_r2c", "linalg_inv_ex")
    assert run_search(Busy(task)).remarks == ("not counted: fft_r2c, linalg_inv_ex",)
