"""The relaxation as published, as a search: ranges, projection, failures, limits, and going on after a kill."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from rank_search import Budget, RankPlan, RankSpace, Task
from rank_search.errors import SearcherError
from rank_search.searchers.ortos import Ortos
from rank_search.searching import SearchResult, make_searcher, run_search
from rank_search.task.meter import Limits
from rank_search.testing import small_task

pytestmark = pytest.mark.usefixtures("single_thread")
HALF = Budget(macs=0.5)
FREE = Budget(macs=1.0)
RANGES = {"lowest": 2, "highest": 8, "step": 4, "shrink": 3}
"""Candidates 2, 6; then the winner and 2 to either side in steps of 1."""
SHORT = {**RANGES, "warm_up": 2, "iterations": 58, "logit_lr": 0.5, "beta": 0.05}
"""A round is a step of 40 iterations and one of 20; small ranks hardly pay."""


def task_at(budget: Budget = HALF, limits: Limits | None = None, data: bool = True) -> Task:
    task = small_task()
    space = RankSpace.from_model(task.model, torch.zeros(1, 3, 8, 8), ["tucker2"], include=["conv2", "conv3"])
    return Task(task.model, space, budget, task.data if data else None).under(budget, limits=limits)


def run(task: Task, **options: Any) -> SearchResult:
    return run_search(make_searcher(task, "ortos", 0, **{**SHORT, **options}))


@cache
def validated(batch_size: int) -> SearchResult:
    """A whole search with the loss on data."""
    return run(task_at(), alpha_loss="validation", batch_size=batch_size)


def plans(result: SearchResult) -> list[RankPlan | None]:
    return [step.plan for step in result.trials]


def widest(info: Any, name: str) -> tuple[list[int], list[float], int]:
    """Of the mode with the largest top: the candidates, their p, and the top."""
    form = info["probabilities"][name]["forms"]["tucker2"]
    mode = form["full"].index(max(form["full"]))
    return form["ranks"][mode], form["p"][mode], form["full"][mode]


# -- rounds ------------------------------------------------------------------------------------------------------------


def test_ranks_narrow_around_the_most_probable_one_of_every_layer() -> None:
    result = run(task_at(), shrink=2)  # then the winner and 2 to either side, then the winner and 1 to either side
    assert [(step.info["round"], step.info["iteration"]) for step in result.trials] == [
        (number, iteration) for number in (1, 2, 3) for iteration in (40, 60)
    ]
    for name in ("conv2", "conv3"):
        rounds = [widest(step.info, name) for step in result.trials]
        assert rounds[0][0] == [2, 6]
        for (ranks, p, top), (finer, _, _), (reach, step) in zip(
            rounds[1:5:2], rounds[2::2], [(2, 2), (1, 1)], strict=True
        ):
            allowed = []
            for rank, probability in zip(ranks, p, strict=True):
                if probability > max(p) - 2e-4:  # p is logged to four digits
                    around = range(rank - reach, rank + reach + 1, step)
                    allowed.append(sorted({min(max(r, 1), top) for r in around}))
            assert finer in allowed


def test_every_plan_is_within_the_budget_and_the_last_one_is_the_answer() -> None:
    task = task_at()
    result = run(task)
    for plan in plans(result):
        assert plan is not None
        assert task.space.cost(plan)["macs"] <= 0.5 * task.space.dense_cost["macs"]
    assert result.score is None
    assert all(step.score is None for step in result.trials)
    assert result.plan == plans(result)[-1]
    assert result.ended == "done"
    assert result.gave_up is None


def test_under_a_budget_that_does_not_bind_the_plan_is_what_p_finds_most_probable() -> None:
    task = task_at(FREE)
    for step in run(task).trials:
        plan, info = step.plan, step.info
        assert plan is not None
        for metric, dense in task.space.dense_cost.items():
            assert info[f"free_kept_{metric}"] == pytest.approx(task.space.cost(plan)[metric] / dense)
        for name, choice in plan.items():
            ranks, p, top = widest(info, name)
            if choice.form == "tucker2":
                probable = [rank for rank, q in zip(ranks, p, strict=True) if q > max(p) - 2e-4]
                assert min(max(choice.ranks), top) in probable


def test_what_a_plan_cost_before_it_was_projected_is_the_same_under_every_budget() -> None:
    tight, free = run(task_at(Budget(macs=0.3))), run(task_at(FREE))
    over = 0
    for one, other in zip(tight.trials, free.trials, strict=True):
        for metric in ("macs", "params"):
            assert one.info[f"free_kept_{metric}"] == other.info[f"free_kept_{metric}"]
        over += one.info["free_kept_macs"] > 0.3
    assert over > 0
    assert plans(tight) != plans(free)


def test_separate_ranks_per_mode_are_allowed() -> None:
    result = run(task_at(), tied=False, iterations=20)
    assert any(
        len(set(choice.ranks)) > 1 for plan in plans(result) if plan for _, choice in plan.items() if choice.ranks
    )


def test_several_forms_stand_side_by_side_in_one_layer() -> None:
    task = small_task()
    space = RankSpace.from_model(task.model, torch.zeros(1, 3, 8, 8), ["tucker2", "svd_spatial"], include=["conv2"])
    result = run(Task(task.model, space, Budget(macs=0.9)), iterations=20)
    for step in result.trials:
        for layer in step.info["probabilities"].values():
            assert set(layer["forms"]) == {"tucker2", "svd_spatial"}
            total = sum(sum(form["p"][0]) for form in layer["forms"].values())
            assert total == pytest.approx(1, abs=1e-3)


# -- data --------------------------------------------------------------------------------------------------------------


def test_the_reconstruction_loss_needs_no_data_and_trains_on_none() -> None:
    with_data, without = run(task_at()), run(task_at(data=False))
    assert plans(with_data) == plans(without)
    assert with_data.meter["samples_trained"] == 0


def test_the_validation_loss_trains_one_batch_per_step_of_the_logits() -> None:
    result = validated(8)
    assert [step.meter["samples_trained"] for step in result.trials] == [
        8 * (58 * done + step) for done in range(2) for step in (38, 58)
    ]
    assert [step.info["probabilities"] for step in result.trials] != [
        step.info["probabilities"] for step in run(task_at()).trials
    ]


@pytest.mark.parametrize(("limit", "steps"), [(304, 1), (400, 1), (464, 2), (800, 3)])
def test_a_limit_on_training_ends_the_validation_variant_with_the_last_plan(limit: int, steps: int) -> None:
    task = task_at(limits=Limits(samples_trained=limit))
    result = run(task, alpha_loss="validation", batch_size=8)
    whole = validated(8)
    assert "samples_trained" in result.ended
    assert result.meter["samples_trained"] <= limit
    assert plans(result) == plans(whole)[:steps]
    assert result.plan == plans(whole)[steps - 1]


def test_a_limit_below_the_first_step_is_one_line_that_names_it() -> None:
    task = task_at(limits=Limits(samples_trained=100))
    with pytest.raises(SearcherError, match="samples_trained would pass the limit of 100") as caught:
        run(task, alpha_loss="validation", batch_size=8)
    assert "\n" not in str(caught.value)
    assert task.meter.samples_trained <= 100


# -- kill and resume ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha_loss", "stop"),
    [("reconstruction", 1), ("reconstruction", 3), ("validation", 1), ("validation", 2), ("validation", 3)],
)
def test_a_killed_search_goes_on_with_the_same_bits(alpha_loss: str, stop: int, tmp_path: Path) -> None:
    options = {**SHORT, "alpha_loss": alpha_loss, "batch_size": 10}
    whole = validated(10) if alpha_loss == "validation" else run(task_at())

    def kill(step: Any) -> None:
        if step.number == stop:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run_search(make_searcher(task_at(), "ortos", 0, **options), checkpoint, kill)
    resumed = run_search(make_searcher(task_at(), "ortos", 0, **options), checkpoint)
    assert plans(resumed) == plans(whole)
    assert [step.info for step in resumed.trials] == [step.info for step in whole.trials]
    for count in ("samples_trained", "decompositions"):
        assert resumed.meter[count] == whole.meter[count]


def test_the_seed_draws_the_batches() -> None:
    options = {**SHORT, "alpha_loss": "validation", "batch_size": 8, "iterations": 20}

    def said(seed: int) -> list[Any]:
        return [s.info for s in run_search(make_searcher(task_at(), "ortos", seed, **options)).trials]

    assert said(1) == said(1)
    assert said(1) != said(2)


# -- failure -----------------------------------------------------------------------------------------------------------


def test_a_learning_rate_that_explodes_at_once_is_an_error_that_names_round_and_layer() -> None:
    with pytest.raises(SearcherError) as caught:
        run(task_at(), lr=1e30)
    said = str(caught.value)
    assert "round 1: layer 'conv2'" in said
    assert "lower lr" in said
    assert "\n" not in said


def test_what_explodes_in_a_later_round_leaves_the_last_plan_and_says_so() -> None:
    searcher = make_searcher(task_at(), "ortos", 0, **SHORT)

    def poison(step: Any) -> None:
        if step.number == 3:  # in the middle of round 2
            assert isinstance(searcher, Ortos)
            layers = {layer.name: layer for layer in searcher._round.layers}  # type: ignore[union-attr]
            layers["conv2"].logits.data.fill_(math.nan)

    result = run_search(searcher, callback=poison)
    whole = run(task_at())
    assert len(result.trials) == 4
    assert result.gave_up is not None
    assert result.ended == result.gave_up
    assert "round 2: layer 'conv2'" in result.gave_up
    assert result.plan == plans(whole)[2]
    assert any(max(choice.ranks, default=2) > 1 for _, choice in result.plan.items())


@pytest.mark.parametrize("lr", [0.3, 3.0, 30.0, 1e3, 1e6])
def test_no_learning_rate_makes_a_number_that_is_not_finite_a_success(lr: float) -> None:
    searcher = make_searcher(task_at(), "ortos", 0, **{**SHORT, "lr": lr, "logit_lr": lr})
    while not searcher.done:
        proposal = searcher.step()
        if proposal.failure is not None:
            assert "round " in proposal.failure
            assert "layer" in proposal.failure
            assert searcher.done
            continue
        for key in ("entropy", "mixture_error", "chosen_error", "rank_loss"):
            assert math.isfinite(proposal.info[key])
