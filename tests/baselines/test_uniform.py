"""Uniform: one fraction everywhere, as large as the budget allows, recomputed from the closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_task import MACS, PARAMS, VALIDATION, all_plans, tiny_task
from torch import nn

from rank_search.baselines.uniform import Uniform
from rank_search.errors import EvaluationError, SearcherError
from rank_search.searching import run_search, search
from rank_search.space import DENSE, Budget, Choice, RankPlan, RankSpace
from rank_search.task import Task

pytestmark = pytest.mark.usefixtures("single_thread")

COSTS = dict(all_plans())
FULL = {"first": (2, 1), "second": (4, 4), "head": (1,)}
"""The largest ranks that cost less than dense: 14 r + 1 < 36, each mode of the second on its own, 7 r < 12."""


def by_hand(thousandths: int) -> RankPlan:
    """The plan of one fraction of the full ranks; a layer dearer than dense on both metrics stays dense."""
    choices = {}
    for name, full in FULL.items():
        ranks = tuple(max(1, round(thousandths * rank / 1000)) for rank in full)
        choice = Choice("svd" if name == "head" else "tucker2", ranks)
        choices[name] = choice if RankPlan({name: choice}) in COSTS else DENSE
    return RankPlan(choices)


def within(plan: RankPlan, limits: dict[str, float]) -> bool:
    return all(COSTS[plan][metric] <= limit for metric, limit in limits.items())


@pytest.mark.parametrize(
    "budget",
    [{"macs": bound} for bound in (0.3, 0.5, 0.62, 0.75, 0.9, 1.0)]
    + [{"params": bound} for bound in (0.35, 0.5, 0.7, 0.95)]
    + [{"macs": 0.9, "params": 0.5}, {"macs": 0.5, "params": 0.9}],
    ids=str,
)
def test_one_fraction_is_common_to_all_layers_and_the_next_is_over_the_budget(budget: dict[str, float]) -> None:
    limits = {metric: math.floor(bound * {"macs": MACS, "params": PARAMS}[metric]) for metric, bound in budget.items()}
    found = search(tiny_task(Budget(**budget), data=False), "uniform").plan
    fractions = [k for k in range(1, 1001) if by_hand(k) == found]
    assert fractions, "no single fraction gives this plan"
    assert within(found, limits)
    assert fractions[-1] == 1000 or not within(by_hand(fractions[-1] + 1), limits)
    assert found == by_hand(max(k for k in range(1, 1001) if within(by_hand(k), limits)))


def test_a_layer_whose_rank_costs_as_much_as_dense_stays_dense() -> None:
    plan = search(tiny_task(Budget(macs=1.0), data=False), "uniform").plan
    assert plan == RankPlan({"first": Choice("tucker2", (2, 1)), "second": DENSE, "head": Choice("svd", (1,))})


def test_with_one_form_a_layer_nothing_is_evaluated() -> None:
    result = search(tiny_task(), "uniform")
    assert len(result.trials) == 1
    assert (result.score, result.ended) == (None, "done")
    assert (result.meter["evaluations"], result.meter["samples_forward"], result.meter["decompositions"]) == (0, 0, 0)


def test_every_form_gets_its_plan_and_one_evaluation_and_the_best_is_kept() -> None:
    budget = Budget(macs=0.6)
    task = tiny_task(budget, forms=("tucker2", "cp", "svd"))
    result = search(task, "uniform")
    forms = [{choice.form for choice in step.plan.values()} for step in result.trials if step.plan]
    assert forms == [{"tucker2", "svd"}, {"cp", "svd"}]
    assert result.meter["evaluations"] == 2
    assert result.meter["samples_forward"] == 2 * (40 + VALIDATION)
    scores = [task.evaluate(step.plan).score for step in result.trials if step.plan is not None]
    assert [step.score for step in result.trials] == scores
    assert result.score == min(scores)
    assert result.plan == result.trials[int(np.argmin(scores))].plan
    assert result.trials[0].plan == search(tiny_task(budget), "uniform").plan
    fraction_of_cp(task, result.trials[1].plan)


def fraction_of_cp(task: Task, plan: RankPlan | None) -> None:
    """Some fraction gives each layer the largest offered CP rank up to that share of the largest; the next is over."""
    assert plan is not None
    ranks = {options.layer.name: options.ranks_of(1)[:, 0] for options in task.space.layers[:2]}

    def at(k: int) -> RankPlan:
        chosen = {
            name: offered[offered <= max(1, round(k * offered.max() / 1000))].max() for name, offered in ranks.items()
        }
        return RankPlan({**{n: Choice("cp", (int(r),)) for n, r in chosen.items()}, "head": Choice("svd", (1,))})

    fractions = [k for k in range(1, 1001) if at(k) == plan]
    assert fractions
    assert fractions[-1] == 1000 or task.space.cost(at(fractions[-1] + 1))["macs"] > 0.6 * MACS


def test_without_data_the_weight_error_decides_between_forms() -> None:
    task = tiny_task(Budget(macs=0.6), forms=("tucker2", "cp", "svd"), data=False)
    result = search(task, "uniform")
    errors = [task.weight_error(step.plan) for step in result.trials if step.plan is not None]
    assert len(errors) == 2
    assert [step.score for step in result.trials] == errors
    assert result.score == min(errors)
    assert result.meter["evaluations"] == 0


@pytest.mark.parametrize("data", [True, False])
def test_a_form_without_a_finite_fit_is_a_failure_and_the_other_form_wins(
    data: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight_error, evaluate = Task.weight_error, Task.evaluate

    def uses_cp(plan: RankPlan) -> bool:
        return any(choice.form == "cp" for choice in plan.values())

    def no_fit(task: Task, plan: RankPlan) -> object:
        if uses_cp(plan):
            raise EvaluationError("no finite CP was found")
        return evaluate(task, plan)

    monkeypatch.setattr(
        Task, "weight_error", lambda task, plan: math.inf if uses_cp(plan) else weight_error(task, plan)
    )
    monkeypatch.setattr(Task, "evaluate", no_fit)
    result = search(tiny_task(Budget(macs=0.6), forms=("tucker2", "cp", "svd"), data=data), "uniform")
    assert not uses_cp(result.plan)
    assert [step.score is None for step in result.trials] == [False, True]
    assert result.trials[1].failure


class Striding(nn.Module):
    """Stride 4 makes every Tucker-2 of the convolution dearer in MACs than the dense layer, yet cheaper in weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, stride=4, bias=False)
        self.head = nn.Linear(18, 6, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.conv(images).flatten(1))
        return logits


def test_a_budget_below_the_smallest_fraction_is_met_by_projection() -> None:
    net = Striding()
    space = RankSpace.from_model(net, torch.zeros(1, 2, 12, 12))
    smallest = 144 * 2 + 9 * (9 + 2) + 24  # rank 1 everywhere
    least = 9 * 36 + 24  # the convolution dense
    assert space.cost(RankPlan({"conv": Choice("tucker2", (1, 1)), "head": Choice("svd", (1,))}))["macs"] == smallest
    assert smallest > least
    for macs in (least, least + 10, smallest - 1):
        result = search(Task(net, space, Budget(macs=macs)), "uniform")
        assert result.plan["conv"] == DENSE
        assert least <= result.cost["macs"] <= macs


def test_a_run_goes_on_from_its_state() -> None:
    task = tiny_task(Budget(macs=0.6), forms=("tucker2", "cp", "svd"))
    first, second = Uniform(task, seed=0), Uniform(task, seed=0)
    first.step()
    second.load_state_dict(first.state_dict())
    assert not second.done
    assert second.step() == first.step()
    assert second.done
    with pytest.raises(SearcherError, match="it proposed nothing"):
        run_search(second)


def test_the_seed_does_not_matter() -> None:
    assert search(tiny_task(), "uniform", seed=1).plan == search(tiny_task(), "uniform", seed=2).plan
