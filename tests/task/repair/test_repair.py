"""Repair as a stage of the task: which networks it changes, what it is charged, and what it says."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_task import TRAIN, VALIDATION, Choice, RankPlan, tiny_data, tiny_net, tiny_task

from rank_search.errors import InvalidInputError, LimitReached
from rank_search.task import Limits, Task
from rank_search.task.repair import refit as refit_module
from rank_search.task.repair.refit import refit
from rank_search.task.repair.steps import steps_of

PLAN = RankPlan({"first": Choice("tucker2", (2, 1)), "second": Choice("tucker2", (2, 2)), "head": Choice("svd", (1,))})


def refitting(**options: object) -> Task:
    return tiny_task(repair="refit", repair_inputs=20, **options)  # type: ignore[arg-type]


def plan_of_task(task: Task) -> RankPlan:
    return task.space.project(task.space.plan(task.space.indices(RankPlan({}))), task.budget)


def test_the_network_is_the_cut_one_refitted_on_fixed_training_inputs() -> None:
    task, data = refitting(), tiny_data()
    plan = plan_of_task(task)
    by_hand = task.space.compress(task.model, plan)
    samples = data.train.subset(20, seed=0)
    whole = [batch.inputs for batch in data.batches(samples, 20)]
    found = refit(by_hand, task.model, steps_of(task.model, data.example()), lambda: whole, 20)
    network = task.compress(plan)
    assert task.mended == found
    for name, value in network.state_dict().items():
        assert torch.equal(value, by_hand.state_dict()[name]), name


@pytest.mark.parametrize(("repair", "charged"), [("none", 0), ("recalibrate", 40), ("refit", 40)])
def test_what_a_repair_runs_is_charged(repair: str, charged: int) -> None:
    task = tiny_task(repair=repair, repair_inputs=20)
    task.compress(plan_of_task(task))
    assert task.meter.samples_forward == charged


def test_every_pass_over_the_inputs_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit_module, "MEMORY_BYTES", 1)  # one input at once
    task = refitting()
    plan = plan_of_task(task)
    seen: list[int] = []
    batches = task.final_repair._batches
    monkeypatch.setattr(task.final_repair, "_batches", lambda size: seen.append(size) or batches(size))
    task.compress(plan)
    assert seen[0] == 1
    assert task.meter.samples_forward >= 2 * 20 * len(seen)


def test_a_limit_that_a_repair_would_pass_stops_it_before_it_changes_anything() -> None:
    task = refitting()
    task = task.under(task.budget, limits=Limits(samples_forward=39))
    with pytest.raises(LimitReached):
        task.compress(plan_of_task(task))
    assert task.meter.samples_forward == 0


def test_evaluations_have_a_repair_of_their_own() -> None:
    task = refitting()
    plan = plan_of_task(task)
    task.evaluate(plan)
    assert task.mended == {}
    assert task.meter.samples_forward == VALIDATION + 40
    dear = refitting(evaluation_repair="refit")
    dear.evaluate(plan)
    assert set(dear.mended) == {name for name, choice in plan.items() if choice.form != "dense"}


def test_a_plan_that_is_trained_in_a_search_is_repaired_as_the_answer_is() -> None:
    task = tiny_task(repair="refit", repair_inputs=TRAIN)
    task.charge_evaluation(plan_of_task(task), epochs=2)
    assert task.meter.samples_forward == VALIDATION + 2 * TRAIN


def test_the_dense_plan_is_neither_changed_nor_charged() -> None:
    task = refitting(budget=None)
    dense = task.space.dense
    task = Task(tiny_net(), task.space, type(task.budget)(macs=1.0), tiny_data(), repair_inputs=20)
    network = task.compress(dense)
    assert task.meter.samples_forward == 0
    for name, value in network.state_dict().items():
        assert torch.equal(value, task.model.state_dict()[name]), name


def test_seeds_and_what_ran_before_change_no_byte() -> None:
    task = refitting()
    plan = plan_of_task(task)
    first = copy.deepcopy(task.compress(plan).state_dict())
    torch.manual_seed(123)
    other = refitting(seed=5)
    other.evaluate(plan)
    for name, value in other.compress(plan).state_dict().items():
        assert torch.equal(value, first[name]), name


@pytest.mark.parametrize("option", ["repair", "evaluation_repair"])
def test_an_unknown_repair_is_refused_with_what_is_allowed(option: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{option}='refitt' is not allowed .*none, recalibrate, refit"):
        tiny_task(**{option: "refitt"})
