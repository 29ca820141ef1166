"""The error of the network's outputs under mixed weights: against networks whose weights were replaced by hand."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mixed_net import multiplied_out
from torch import Tensor

from rank_search.errors import DataError, InvalidInputError
from rank_search.searchers.relaxation import mixed_weight
from rank_search.searchers.relaxation.nested_mixture import LayerMixture
from rank_search.searchers.relaxation.output_loss import OutputLoss
from rank_search.searching import SearchResult, make_searcher, run_search
from rank_search.space import Budget, RankSpace, input_covariances
from rank_search.task import Limits, Task
from rank_search.testing import small_task

pytestmark = pytest.mark.usefixtures("single_thread")
FORMS = ["tucker2", "svd", "svd_spatial", {"cp": {"ranks": 4}}]
HALF = Budget(macs=0.5)
OUTPUTS: dict[str, Any] = {"rounds": 4, "iterations": 2, "batch_size": 16}


def said(result: SearchResult) -> list[Any]:
    return [(trial.plan, trial.score, trial.info) for trial in result.trials]


def task_with(forms: Any = FORMS, **options: Any) -> Task:
    task = small_task()
    space = RankSpace.from_model(task.model, torch.zeros(1, 3, 8, 8), forms, **options)
    return Task(task.model, space, HALF, task.data, task.recipe)


def mixtures_of(task: Task) -> list[LayerMixture]:
    return [LayerMixture(options, [1]) for options in task.space.layers]


def drawn(mixtures: list[LayerMixture], seed: int = 0) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    rng = np.random.default_rng(seed)
    return [rng.dirichlet(np.full(len(mixture.rows), 0.3)) for mixture in mixtures]


def relative_error(task: Task, weights: dict[str, Tensor], images: Tensor) -> float:
    """Of the logits of a copy whose weights were set, batch norms on the batch's statistics, in float64."""
    outputs = []
    for values in ({}, weights):
        net = copy.deepcopy(task.model).double().eval()
        for name, value in values.items():
            module = net.get_submodule(name)
            module.weight.data = value.reshape(module.weight.shape)  # type: ignore[union-attr, operator]
        net.get_submodule("bn1").train()
        with torch.no_grad():
            outputs.append(net(images.double()))
    wanted, found = outputs
    return float((found - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum())


def mixed_by_hand(task: Task, mixtures: list[LayerMixture], ps: list[Any]) -> dict[str, Tensor]:
    return {
        options.layer.name: sum(  # type: ignore[misc]
            float(p) * multiplied_out(options, int(row)) for p, row in zip(ps[i], mixtures[i].rows, strict=True)
        )
        for i, options in enumerate(task.space.layers)
    }


def first_batch(task: Task, loss: OutputLoss) -> Tensor:
    fresh = OutputLoss(task, mixtures_of(task), 16, seed=0)
    return fresh.stream.next()[0]


def test_its_value_is_the_outputs_error_of_the_superposition() -> None:
    task = task_with()
    mixtures = mixtures_of(task)
    ps = drawn(mixtures)
    loss = OutputLoss(task, mixtures, 16, seed=0)
    loss.gradient(ps)
    expected = relative_error(task, mixed_by_hand(task, mixtures, ps), first_batch(task, loss))
    assert loss.value == pytest.approx(expected, rel=1e-4)


def test_its_gradient_is_that_of_finite_differences() -> None:
    task = task_with()
    mixtures = mixtures_of(task)
    ps = drawn(mixtures)
    loss = OutputLoss(task, mixtures, 16, seed=0)
    gradients, images = loss.gradient(ps), first_batch(task, loss)
    rng, step = np.random.default_rng(1), 1e-4
    for layer, p in enumerate(ps):
        for place in rng.integers(0, len(p), 3):
            values = []
            for sign in (1, -1):
                moved = [q.copy() for q in ps]
                moved[layer][place] += sign * step
                values.append(relative_error(task, mixed_by_hand(task, mixtures, moved), images))
            slope = (values[0] - values[1]) / (2 * step)
            assert gradients[layer][place] == pytest.approx(slope, rel=0.02, abs=2e-3)


def test_the_error_of_a_plan_is_that_of_its_weights() -> None:
    task = task_with()
    loss = OutputLoss(task, mixtures_of(task), 16, seed=0)
    rng = np.random.default_rng(0)
    assert task.data is not None
    images = next(task.data.batches(task.data.train.subset(256, seed=0), 256))[0]
    assert loss.of_plan(task.space.dense) == pytest.approx(0, abs=1e-10)
    for _ in range(4):
        plan = task.space.random_plan(rng, HALF)
        rows = task.space.indices(plan)
        weights = {o.layer.name: multiplied_out(o, int(row)) for o, row in zip(task.space.layers, rows, strict=True)}
        assert loss.of_plan(plan) == pytest.approx(relative_error(task, weights, images), rel=1e-4)


def search(task: Task, limits: Limits | None = None, checkpoint: Path | None = None, **more: Any) -> SearchResult:
    fresh = task.under(HALF, limits=limits)
    return run_search(make_searcher(fresh, "relaxation_outputs", 0, **{**OUTPUTS, **more}), checkpoint)


def test_a_search_is_charged_for_every_image_and_leaves_the_dense_network_alone() -> None:
    task = task_with()
    before = copy.deepcopy(task.model.state_dict())
    result = search(task)
    assert result.meter["samples_trained"] == 4 * 2 * 16
    assert result.meter["samples_forward"] >= 4 * 2 * 48
    assert all(torch.equal(value, before[key]) for key, value in task.model.state_dict().items())


def test_its_answer_has_a_smaller_outputs_error_than_the_least_weight_error() -> None:
    task = task_with()
    mixtures = mixtures_of(task)
    loss = OutputLoss(task, mixtures, 16, seed=0)
    knapsack = task.space.plan(task.space.minimise(task.space.relative_errors(), HALF).indices)
    result = search(task, rounds=16, iterations=6)
    assert result.score == pytest.approx(loss.of_plan(result.plan), rel=1e-5)
    assert result.score is not None
    assert result.score < loss.of_plan(knapsack)


def test_restored_after_any_round_it_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    task = task_with()
    whole = search(task)
    for stop in (1, 3):

        def interrupt(step: Any, stop: int = stop) -> None:
            if step.number == stop:
                raise KeyboardInterrupt

        checkpoint = tmp_path / f"{stop}.safetensors"
        with pytest.raises(KeyboardInterrupt):
            run_search(make_searcher(task.under(HALF), "relaxation_outputs", 0, **OUTPUTS), checkpoint, interrupt)
        resumed = search(task, checkpoint=checkpoint)
        assert said(resumed) == said(whole)


def test_an_outputs_error_that_is_not_finite_ends_it_with_the_last_plan_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = task_with()
    good, calls = OutputLoss._loss, 0

    def poisoned(self: OutputLoss, inputs: Tensor, weights: Any) -> Tensor:
        nonlocal calls
        calls += len(inputs) == 16
        value = good(self, inputs, weights)
        return value * math.nan if calls == 5 and len(inputs) == 16 else value

    whole = search(task)
    monkeypatch.setattr(OutputLoss, "_loss", poisoned)
    result = search(task)
    assert result.gave_up is not None
    assert "round 3: the error of the outputs became nan at batch 5" in result.gave_up
    assert len(result.trials) == 3
    assert said(result)[:2] == said(whole)[:2]
    assert result.plan in [step.plan for step in whole.trials[:2]]


def test_a_limit_on_training_ends_it_between_rounds() -> None:
    result = search(task_with(), Limits(samples_trained=3 * 16))
    assert result.meter["samples_trained"] <= 3 * 16
    assert len(result.trials) == 1


def test_without_data_it_is_refused() -> None:
    task = task_with()
    with pytest.raises(DataError, match="'relaxation_outputs' needs data, and this task has none"):
        make_searcher(Task(task.model, task.space, HALF), "relaxation_outputs", 0, **OUTPUTS)


def test_a_space_of_another_metric_is_refused() -> None:
    task = small_task()
    moments = input_covariances(task.model, [torch.randn(8, 3, 8, 8)], False, ["conv1", "conv2", "conv3", "linear"])
    other = task_with(["tucker2", "svd"], covariances=moments)
    with pytest.raises(InvalidInputError, match="relaxation_outputs measures outputs itself: use a space with errors"):
        OutputLoss(other, mixtures_of(other), 16, 0)


def test_more_loose_options_than_it_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_weight, "HELD_MB", 0.01)
    task = task_with()
    with pytest.raises(InvalidInputError, match=r"layer 'conv.' has [0-9]+, which take 0 MB, at most 0.01 are allowed"):
        make_searcher(task, "relaxation_outputs", 0, **OUTPUTS)
