"""The best plans of a search, fine-tuned: their order, the winner, what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task import SHORT, TRAIN, VALIDATION, tiny_task
from torch import nn

from rank_search.run.finalists import best_plans, finetune_best
from rank_search.searching import SearchResult, Trial
from rank_search.space import DENSE, Budget, Choice, RankPlan, plan_of
from rank_search.task import Evaluation, Task

pytestmark = pytest.mark.usefixtures("single_thread")

BUDGET = Budget(macs=0.7)


def plan(r1: int, r2: int = 1, head: bool = False) -> RankPlan:
    last = Choice("svd", (1,)) if head else DENSE
    return RankPlan({"first": Choice("tucker2", (1, 1)), "second": Choice("tucker2", (r1, r2)), "head": last})


A, B, C, D = plan(1), plan(2), plan(2, 2), plan(1, 1, head=True)


def result(*scored: tuple[RankPlan, float | None], answer: tuple[RankPlan, float | None] | None = None) -> SearchResult:
    """A result whose answer is the best-scored plan, unless told."""
    trials = tuple(
        Trial(number, chosen, "failed" if score is None else "done", score)
        for number, (chosen, score) in enumerate(scored, 1)
    )
    best = min((entry for entry in scored if entry[1] is not None), key=lambda entry: entry[1] or 0.0, default=None)
    found = answer or best
    assert found is not None
    return SearchResult(found[0], {}, found[1], None, {}, trials, "done")


# -- which plans -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_the_answer_comes_first_then_the_next_best(count: int) -> None:
    found = best_plans(result((A, 0.4), (B, 0.1), (C, 0.3), (D, 0.2)), count)
    assert found == [(B, 0.1), (D, 0.2), (C, 0.3), (A, 0.4)][:count]


def test_no_plan_comes_twice_and_each_has_its_best_score() -> None:
    found = best_plans(result((A, 0.4), (B, 0.2), (A, 0.3), (B, 0.2), (C, 0.9), (A, 0.5)), 5)
    assert found == [(B, 0.2), (A, 0.3), (C, 0.9)]


def test_of_equals_the_first_that_was_asked_for_comes_first() -> None:
    assert best_plans(result((D, 0.2), (C, 0.2), (A, 0.2), (B, 0.2)), 3) == [(D, 0.2), (C, 0.2), (A, 0.2)]


def test_negative_scores_and_zero_are_scores() -> None:
    assert best_plans(result((A, 0.0), (B, -2.0), (C, -1.0)), 3) == [(B, -2.0), (C, -1.0), (A, 0.0)]


def test_plans_without_a_score_are_no_finalists_but_the_answer_is() -> None:
    assert best_plans(result((A, None), (B, 0.2), (C, None)), 3) == [(B, 0.2)]
    assert best_plans(result((A, None), (B, None), answer=(B, None)), 3) == [(B, None)]


def test_an_answer_that_is_no_trial_comes_first_all_the_same() -> None:
    assert best_plans(result((A, 0.4), (B, 0.1), answer=(C, 0.7)), 2) == [(C, 0.7), (B, 0.1)]


# -- the winner --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Task:
    return tiny_task(BUDGET, recipe=replace(SHORT, epochs=3))


@pytest.fixture
def task(shared: Task) -> Task:
    return shared.under(BUDGET)


def bits(net: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


SEARCHED = result((A, 0.4), (B, 0.1), (C, 0.3), (D, 0.2))


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_the_best_after_the_fine_tune_wins(
    task: Task, winner: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the search said, and whatever they were before the fine-tune."""
    order = [B, D, C]
    seen: dict[RankPlan, list[float]] = {chosen: [] for chosen in order}

    def validate(self: Task, network: nn.Module) -> Evaluation:
        chosen = plan_of(network)
        seen[chosen].append(0.5 if order[winner] == chosen else 0.7)
        score = seen[chosen][-1] if len(seen[chosen]) == 2 else 2.0 - seen[chosen][-1]
        return Evaluation(score, {"loss": score}, VALIDATION)

    monkeypatch.setattr(Task, "validate", validate)
    found = finetune_best(task, SEARCHED, 3, 1, tmp_path / "state", lambda: None)
    assert (found.plan, found.score) == (order[winner], [0.1, 0.2, 0.3][winner])
    assert (found.before.score, found.after.score) == (1.5, 0.5)
    assert plan_of(found.network) == found.plan
    assert [len(scores) for scores in seen.values()] == [2, 2, 2]


def test_of_equals_after_it_the_better_of_the_search_wins(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Task, "validate", lambda *args: Evaluation(0.5, {}, VALIDATION))
    assert finetune_best(task, SEARCHED, 4, 1, tmp_path / "state", lambda: None).plan == B


@pytest.mark.parametrize("top_k", [1, 2, 3, 9])
def test_each_is_that_of_the_task_and_all_is_charged(shared: Task, task: Task, top_k: int, tmp_path: Path) -> None:
    kept: list[int] = []
    found = finetune_best(task, SEARCHED, top_k, 2, tmp_path / "state", lambda: kept.append(1))
    count = min(top_k, 4)
    by_hand: list[tuple[float, dict[str, bytes], float]] = []
    for chosen in [B, D, C, A][:count]:
        own = shared.under(BUDGET)
        before = own.validate(own.compress(chosen)).score
        network = own.finetune(chosen, 2)
        by_hand.append((own.validate(network).score, bits(network), before))
    best = min(by_hand, key=lambda entry: entry[0])
    assert (found.after.score, bits(found.network), found.before.score) == best
    assert task.meter.samples_trained == count * 2 * TRAIN
    assert task.meter.evaluations == 0
    assert len(kept) == count * 2
    assert len([*tmp_path.iterdir()]) == count


def test_no_epochs_leave_the_order_of_the_whole_validation_set(task: Task, tmp_path: Path) -> None:
    found = finetune_best(task, SEARCHED, 4, 0, tmp_path / "state", lambda: None)
    assert found.before == found.after
    assert task.meter.samples_trained == 0


def test_what_is_interrupted_goes_on_to_the_same_network(shared: Task, tmp_path: Path) -> None:
    def run(folder: Path, stop_after: int | None = None) -> tuple[Any, int]:
        folder.mkdir(exist_ok=True)
        seen: list[int] = []

        def kept() -> None:
            seen.append(1)
            if len(seen) == stop_after:
                raise KeyboardInterrupt

        task = shared.under(BUDGET)
        found = finetune_best(task, SEARCHED, 3, 2, folder / "state", kept)
        return (found.plan, found.before, found.after, bits(found.network)), task.meter.samples_trained

    whole = run(tmp_path / "whole")
    assert whole[1] == 3 * 2 * TRAIN
    for stop_after in range(1, 7):
        folder = tmp_path / str(stop_after)
        with pytest.raises(KeyboardInterrupt):
            run(folder, stop_after)
        torch.rand(3)
        assert run(folder) == whole
