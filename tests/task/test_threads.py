"""Oracles asked from several threads give the numbers that one thread gets."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import optuna
import pytest
import torch
from tiny_task import tiny_task

from rank_search.errors import LimitReached
from rank_search.space import Budget, RankPlan
from rank_search.task import Limits, Task

BUDGET = Budget(macs=0.8)


def plan_at(task: Task, number: int) -> RankPlan:
    return task.space.random_plan(np.random.default_rng(number), BUDGET)


def test_a_study_of_two_jobs_gives_the_serial_numbers() -> None:
    task = tiny_task(BUDGET)
    serial = {number: tiny_task(BUDGET).evaluate(plan_at(task, number)).score for number in range(12)}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    study.optimize(lambda trial: task.evaluate(plan_at(task, trial.number)).score, n_trials=12, n_jobs=2)
    assert {trial.number: trial.value for trial in study.trials} == serial
    assert task.meter.evaluations == 12


@pytest.mark.parametrize("threads", [2, 4])
def test_any_number_of_threads_gives_the_serial_numbers_and_counts(threads: int) -> None:
    whole, shared = tiny_task(BUDGET), tiny_task(BUDGET)
    plans = [plan_at(whole, number) for number in range(16)]
    serial = [(whole.evaluate(plan), whole.weight_error(plan)) for plan in plans]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda plan: (shared.evaluate(plan), shared.weight_error(plan)), plans))
    assert found == serial
    counted = ("evaluations", "samples_forward", "samples_trained", "decompositions")
    assert [getattr(shared.meter, name) for name in counted] == [getattr(whole.meter, name) for name in counted]


def test_no_limit_is_passed_by_threads_that_race() -> None:
    task = tiny_task(BUDGET).under(BUDGET, limits=Limits(evaluations=5))
    plans = [plan_at(task, number) for number in range(20)]

    def tried(plan: RankPlan) -> bool:
        try:
            task.evaluate(plan)
        except LimitReached:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(tried, plans)) == 5
    assert task.meter.evaluations == 5


def test_another_thread_works_with_the_cores_that_the_task_was_made_with() -> None:
    seen: list[int] = []
    task = tiny_task(BUDGET)
    net = task.model
    net.register_forward_hook(lambda module, inputs, output: seen.append(torch.get_num_threads()))

    def ask() -> None:
        torch.set_num_threads(3)
        task.evaluate(plan_at(task, 0))

    before = torch.get_num_threads()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert set(seen) == {before}
