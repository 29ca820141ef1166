"""The contract of a searcher as tests that anyone can run on their own.

    from rank_search.testing import SearcherContract

    class TestMine(SearcherContract):
        searcher = "mine"  # a registered name, "module:Class", or the class

pytest collects the class; every method is one thing that a bench relies on. The task is a small convolutional network
with random weights on random images: nothing is learnt, everything is exact and takes a second.
"""

from __future__ import annotations

import contextlib
import copy
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from rank_search.errors import EvaluationError, SearcherError
from rank_search.searching import SearchResult, make_searcher, run_search
from rank_search.searching.checkpoint import load_state, save_state
from rank_search.searching.searcher import Searcher
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.space.layers.counting import count_macs
from rank_search.task import Data, Evaluation, ImageSet, Limits, Recipe, Task

IMAGE = (3, 8, 8)
BUDGETS = (Budget(macs=0.7), Budget(macs=0.4), Budget(params=0.5, macs=0.6))


class SmallNet(nn.Module):
    """Three convolutions (one with stride 2) and a classifier.

    Args:
        width: channels of the first convolution.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.linear = nn.Linear(2 * width, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.bn1(self.conv1(images)))
        features = torch.relu(self.conv3(torch.relu(self.conv2(features))))
        logits: torch.Tensor = self.linear(features.mean((2, 3)))
        return logits


class CountingTask(Task):
    """Counts calls of ``evaluate`` and remembers the plans."""

    evaluated: list[RankPlan]

    def evaluate(self, plan: RankPlan) -> Evaluation:
        evaluation = super().evaluate(plan)
        self.evaluated.append(plan)
        return evaluation


class FailingTask(CountingTask):
    """Every second evaluation fails."""

    def evaluate(self, plan: RankPlan) -> Evaluation:
        evaluation = super().evaluate(plan)
        if len(self.evaluated) % 2:
            raise EvaluationError("this evaluation fails on purpose")
        return evaluation


class NanTask(CountingTask):
    """Every second evaluation says NaN."""

    def evaluate(self, plan: RankPlan) -> Evaluation:
        evaluation = super().evaluate(plan)
        return Evaluation(math.nan, 0.0, evaluation.images) if len(self.evaluated) % 2 else evaluation


def small_task(kind: type[Task] = CountingTask, tiny: bool = False) -> Task:
    """A task with random weights and images: forms tucker2, cp and svd, or a space of a few dozen plans if ``tiny``."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallNet().eval()
    train, validation = (
        ImageSet(
            torch.randint(0, 256, (count, *IMAGE), dtype=torch.uint8, generator=generator),
            torch.arange(count) % 4,
        )
        for count in (48, 32)
    )
    data = Data(train, validation, None, (0.5,) * 3, (0.25,) * 3)
    example = torch.zeros(1, *IMAGE)
    if tiny:
        space = RankSpace.from_model(model, example, ["tucker2", "svd"], include=["conv1", "linear"])
    else:
        space = RankSpace.from_model(model, example, ["tucker2", "cp", "svd"])
    task = kind(model, space, Budget(macs=0.95), data, Recipe(epochs=1, batch_size=16), recalibration_images=16)
    if isinstance(task, CountingTask):
        task.evaluated = []
    return task


class SearcherContract:
    """What every searcher must keep. Set ``searcher``, and ``options`` if it needs any.

    Attributes:
        searcher: what to test.
        options: its options.
        limits: what each search of these tests may spend; a one-shot method may need more trained samples.
    """

    searcher: ClassVar[str | type[Searcher]]
    options: ClassVar[dict[str, Any]] = {}
    limits: ClassVar[Limits] = Limits(evaluations=8, samples_trained=400)

    def under(self, task: Task, budget: Budget, limits: Limits | None = None) -> Task:
        """A fresh task under a budget, with the limits of these tests unless others are given."""
        fresh = task.under(budget, limits=limits or self.limits)
        if isinstance(fresh, CountingTask):
            fresh.evaluated = []
        return fresh

    def run(self, task: Task, seed: int = 0) -> SearchResult:
        """One search."""
        return run_search(make_searcher(task, self.searcher, seed, **self.options))

    @pytest.mark.parametrize("budget", BUDGETS, ids=str)
    def test_every_plan_is_within_the_budget(self, budget: Budget) -> None:
        task = self.under(small_task(), budget)
        result = self.run(task)
        limits = budget.limits(task.space.dense_cost)
        for plan in [result.plan, *(step.proposal.plan for step in result.steps)]:
            assert plan is not None
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
        for stop in {1, max(1, len(whole.steps) // 2), len(whole.steps)}:
            checkpoint = tmp_path / f"{stop}.safetensors"

            def interrupt(step: Any, stop: int = stop) -> None:
                if step.number == stop:
                    raise KeyboardInterrupt

            first = make_searcher(self.under(small_task(), BUDGETS[1]), self.searcher, 0, **self.options)
            with pytest.raises(KeyboardInterrupt):
                run_search(first, checkpoint, interrupt)
            second = make_searcher(self.under(small_task(), BUDGETS[1]), self.searcher, 0, **self.options)
            resumed = run_search(second, checkpoint)
            assert _said(resumed) == _said(whole)
            assert {key: resumed.meter[key] for key in _COUNTS} == {key: whole.meter[key] for key in _COUNTS}

    def test_its_state_is_plain_data_and_arrays(self, tmp_path: Path) -> None:
        searcher = make_searcher(self.under(small_task(), BUDGETS[1]), self.searcher, 0, **self.options)
        searcher.step()
        save_state(tmp_path / "state.safetensors", searcher.state_dict())
        searcher.load_state_dict(load_state(tmp_path / "state.safetensors"))

    def test_a_tiny_space_comes_to_an_end_without_limits(self) -> None:
        task = self.under(small_task(tiny=True), Budget(macs=0.95), Limits(samples_trained=400))
        assert isinstance(task, CountingTask)
        self.run(task)
        assert len(set(task.evaluated)) == len(task.evaluated), "a plan was evaluated twice"

    @pytest.mark.parametrize("kind", [FailingTask, NanTask])
    def test_failed_evaluations_do_not_stop_it(self, kind: type[CountingTask]) -> None:
        task = self.under(small_task(kind), BUDGETS[1])
        assert isinstance(task, CountingTask)
        try:
            result = self.run(task)
        except SearcherError:
            if len(task.evaluated) > 1:  # with one evaluation, which failed, there is nothing left to choose from
                raise
            return
        assert all(step.proposal.score is None or math.isfinite(step.proposal.score) for step in result.steps)

    def test_the_meter_counts_what_was_done(self) -> None:
        task = self.under(small_task(), BUDGETS[1])
        assert isinstance(task, CountingTask)
        result = self.run(task)
        assert result.meter["evaluations"] == len(task.evaluated)
        assert result.meter["samples_forward"] >= 32 * len(task.evaluated)
        for before, after in zip(result.steps, result.steps[1:], strict=False):
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

    def test_the_dense_network_is_left_as_it_was(self) -> None:
        task = self.under(small_task(), BUDGETS[1])
        before = copy.deepcopy(task.model.state_dict())
        self.run(task)
        after = task.model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)


_COUNTS = ("evaluations", "samples_forward", "samples_trained", "decompositions")


def _said(result: SearchResult) -> list[tuple[Any, ...]]:
    """Everything that a search said, without times."""
    return [
        (step.number, step.proposal.plan, step.proposal.score, step.proposal.accuracy, step.proposal.failure)
        for step in result.steps
    ]
