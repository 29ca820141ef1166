"""The contract of a searcher as tests that anyone can run on their own."""

from __future__ import annotations

import contextlib
import math
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from rank_search.errors import SearcherError
from rank_search.searching import AskTellSearcher, Searcher, SearcherBase, SearchResult, make_searcher, run_search
from rank_search.space import Budget
from rank_search.space.layers.counting import count_macs
from rank_search.states import load_state, save_state
from rank_search.task import Limits, Task
from rank_search.task.digest import changed, task_digest
from rank_search.testing.small_task import IMAGE, CountingTask, FailingTask, NanTask, small_task

BUDGETS = (Budget(macs=0.7), Budget(macs=0.4), Budget(params=0.5, macs=0.6))


class SearcherContract:
    """What every searcher must keep. Set ``searcher``, and ``options`` if it needs any.

    Attributes:
        searcher: what to test.
        options: its options.
        limits: what each search of these tests may spend; a one-shot method may need more trained samples.
    """

    searcher: ClassVar[str | type[SearcherBase]]
    options: ClassVar[dict[str, Any]] = {}
    limits: ClassVar[Limits] = Limits(evaluations=8, samples_trained=400)

    def under(self, task: Task, budget: Budget, limits: Limits | None = None) -> Task:
        """A fresh task under a budget, with the limits of these tests unless others are given."""
        fresh = task.under(budget, limits=limits or self.limits)
        if isinstance(fresh, CountingTask):
            fresh.judged = []
        return fresh

    def run(self, task: Task, seed: int = 0, parallel: int = 1) -> SearchResult:
        """One search."""
        return run_search(make_searcher(task, self.searcher, seed, **self.options), parallel=parallel)

    @pytest.mark.parametrize("budget", BUDGETS, ids=str)
    def test_every_plan_is_within_the_budget(self, budget: Budget) -> None:
        task = self.under(small_task(), budget)
        result = self.run(task)
        limits = budget.limits(task.space.dense_cost)
        for plan in [result.plan, *(trial.plan for trial in result.trials)]:
            network = task.space.compress(task.model, plan)
            counted = {
                "params": sum(parameter.numel() for parameter in network.parameters()),
                "macs": count_macs(network, torch.zeros(1, *IMAGE)),
            }
            assert all(counted[metric] <= limit for metric, limit in limits.items()), (plan, counted, limits)

    def test_the_same_seed_gives_the_same_plans(self) -> None:
        runs = [self.run(self.under(small_task(), BUDGETS[1]), seed=3) for _ in range(2)]
        assert _said(runs[0]) == _said(runs[1])
        assert runs[0].plan.to_json() == runs[1].plan.to_json()

    def test_a_search_restored_from_a_file_goes_on_as_if_never_stopped(self, tmp_path: Path) -> None:
        whole = self.run(self.under(small_task(), BUDGETS[1]))
        for stop in {1, max(1, len(whole.trials) // 2), len(whole.trials)}:
            checkpoint = tmp_path / f"{stop}.safetensors"

            def interrupt(trial: Any, stop: int = stop) -> None:
                if trial.number == stop:
                    raise KeyboardInterrupt

            first = make_searcher(self.under(small_task(), BUDGETS[1]), self.searcher, 0, **self.options)
            with pytest.raises(KeyboardInterrupt):
                run_search(first, checkpoint, interrupt)
            second = make_searcher(self.under(small_task(), BUDGETS[1]), self.searcher, 0, **self.options)
            resumed = run_search(second, checkpoint)
            assert _said(resumed) == _said(whole)
            assert {key: resumed.meter[key] for key in _COUNTS} == {key: whole.meter[key] for key in _COUNTS}

    def test_with_three_plans_in_flight_none_is_asked_for_twice_and_a_kill_changes_nothing(
        self, tmp_path: Path
    ) -> None:
        task = self.under(small_task(), BUDGETS[1])
        assert isinstance(task, CountingTask)
        whole = self.run(task, parallel=3)
        assert len(set(task.judged)) == len(task.judged), "a plan was evaluated twice"
        checkpoint = tmp_path / "search.safetensors"

        def interrupt(trial: Any) -> None:
            if trial.number == min(2, len(whole.trials)):
                raise KeyboardInterrupt

        first = make_searcher(self.under(small_task(), BUDGETS[1]), self.searcher, 0, **self.options)
        with pytest.raises(KeyboardInterrupt):
            run_search(first, checkpoint, interrupt, parallel=3)
        second = make_searcher(self.under(small_task(), BUDGETS[1]), self.searcher, 0, **self.options)
        resumed = run_search(second, checkpoint, parallel=3)
        assert _said(resumed) == _said(whole)
        assert {key: resumed.meter[key] for key in _COUNTS} == {key: whole.meter[key] for key in _COUNTS}

    def test_its_state_is_plain_data_and_arrays(self, tmp_path: Path) -> None:
        searcher = make_searcher(self.under(small_task(), BUDGETS[1]), self.searcher, 0, **self.options)
        if isinstance(searcher, Searcher):
            searcher.step()
        elif isinstance(searcher, AskTellSearcher):
            searcher.ask(())
        save_state(tmp_path / "state.safetensors", searcher.state_dict())
        searcher.load_state_dict(load_state(tmp_path / "state.safetensors"))

    def test_a_tiny_space_comes_to_an_end_without_limits(self) -> None:
        task = self.under(small_task(tiny=True), Budget(macs=0.95), Limits(samples_trained=400))
        assert isinstance(task, CountingTask)
        self.run(task)
        assert len(set(task.judged)) == len(task.judged), "a plan was evaluated twice"

    @pytest.mark.parametrize("kind", [FailingTask, NanTask])
    def test_failed_evaluations_do_not_stop_it(self, kind: type[CountingTask]) -> None:
        task = self.under(small_task(kind), BUDGETS[1])
        assert isinstance(task, CountingTask)
        try:
            result = self.run(task)
        except SearcherError:
            if len(task.judged) > 1:  # with one evaluation, which failed, there is nothing left to choose from
                raise
            return
        assert all(trial.score is None or math.isfinite(trial.score) for trial in result.trials)

    def test_the_meter_counts_what_was_done(self) -> None:
        task = self.under(small_task(), BUDGETS[1])
        assert isinstance(task, CountingTask)
        result = self.run(task)
        assert result.meter["evaluations"] == len(task.judged)
        assert result.meter["samples_forward"] >= 32 * len(task.judged)
        for before, after in zip(result.trials, result.trials[1:], strict=False):
            assert all(after.meter[key] >= before.meter[key] for key in before.meter)

    @pytest.mark.parametrize(
        "limits",
        [
            Limits(evaluations=3, samples_trained=400),
            Limits(samples_forward=150, samples_trained=400),
            Limits(samples_trained=100, evaluations=5),
        ],
        ids=["evaluations", "samples_forward", "samples_trained"],
    )
    def test_no_limit_is_passed(self, limits: Limits) -> None:
        task = self.under(small_task(), BUDGETS[1], limits)
        with contextlib.suppress(SearcherError):  # the limit may be too small for any plan; it may not be passed
            self.run(task)
        for name in ("evaluations", "samples_forward", "samples_trained"):
            limit = getattr(limits, name)
            assert limit is None or getattr(task.meter, name) <= limit

    def test_what_searches_share_is_left_as_it_was(self) -> None:
        task = self.under(small_task(), BUDGETS[1])
        before = task_digest(task)
        self.run(task)
        assert changed(before, task_digest(task)) == []

    def test_the_state_of_the_process_is_left_as_it_was(self) -> None:
        before = process_state()
        self.run(self.under(small_task(), BUDGETS[1]))
        assert process_state() == before

    def test_its_plans_are_worth_the_same_in_two_threads(self) -> None:
        found = self.run(self.under(small_task(), BUDGETS[1]))
        plans = list(dict.fromkeys(trial.plan for trial in found.trials))[:6]
        task = small_task(Task).under(BUDGETS[1])
        serial = [task.evaluate(plan) for plan in plans]
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(task.evaluate, plans)) == serial


def process_state() -> dict[str, Any]:
    """What of a process a search may not leave changed."""
    return {
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
        "torch's generator": torch.get_rng_state().tolist(),
        "NumPy's generator": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "Python's generator": random.getstate(),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "streams": (sys.stdout, sys.stderr),
    }


_COUNTS = ("evaluations", "samples_forward", "samples_trained", "decompositions")


def _said(result: SearchResult) -> list[tuple[Any, ...]]:
    """Everything that a search said, without times."""
    return [
        (trial.number, trial.plan, trial.state, trial.score, dict(trial.measures), trial.failure)
        for trial in result.trials
    ]
