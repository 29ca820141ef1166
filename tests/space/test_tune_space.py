"""A rank space as a search space of Ray Tune's, and its configurations as plans within a budget."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from ray.tune.search.sample import Categorical, Float
from ray.tune.search.variant_generator import generate_variants
from tiny_task import all_plans, tiny_task

from rank_search.errors import OverBudgetError, PlanError
from rank_search.space import Budget, RankSpace

BUDGET = Budget(macs=0.7)
LIMIT = int(0.7 * (36 * 36 + 9 * 144 + 12))
HAND = {plan: cost["macs"] for plan, cost in all_plans()}


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return tiny_task().space


def test_it_has_a_choice_per_layer_of_several_forms_and_a_number_per_mode() -> None:
    found = tiny_task(forms=["tucker2", "svd", "cp"]).space.tune_space()
    assert list(found) == ["ranks"]
    assert {layer: list(domains) for layer, domains in found["ranks"].items()} == {
        "first": ["form", "0", "1"],
        "second": ["form", "0", "1"],
        "head": ["0"],
    }
    form, number = found["ranks"]["first"]["form"], found["ranks"]["first"]["0"]
    assert isinstance(form, Categorical)
    assert form.categories == ["tucker2", "cp"]
    assert isinstance(number, Float)
    assert (number.lower, number.upper) == (0.0, 1.0)


def test_what_ray_draws_becomes_plans_within_the_budget(space: RankSpace) -> None:
    rng = np.random.default_rng(0)
    plans = []
    for _ in range(60):
        for _, config in generate_variants({"config": {**space.tune_space(), "lr": 0.1}}, random_state=rng):
            plans.append(space.plan_of_config(config["config"], BUDGET))
    assert all(HAND[plan] <= LIMIT for plan in plans)
    assert len(set(plans)) > 15


def test_a_plan_in_the_configuration_is_taken_as_it_is(space: RankSpace) -> None:
    inside = next(plan for plan, macs in HAND.items() if macs <= LIMIT)
    outside = next(plan for plan, macs in HAND.items() if macs > LIMIT)
    assert space.plan_of_config({"plan": json.loads(json.dumps(inside.to_dict())), "ranks": 1}, BUDGET) == inside
    with pytest.raises(OverBudgetError):
        space.plan_of_config({"plan": outside.to_dict()}, BUDGET)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"neither 'plan' nor 'ranks' \(it is empty\): give Tuner\(param_space=space.tune_space\(\)\)"),
        ({"lr": 1, "ranks": 2}, r"neither 'plan' nor 'ranks' \(lr, ranks\)"),
        ({"ranks": {"first": 0.5}}, "the parameter 'first/0' is missing"),
        (
            {"ranks": {"first": {"0": 0.5, "1": "high"}}},
            "the parameter 'first/1' is 'high'; it is a number from 0 to 1",
        ),
    ],
)
def test_a_configuration_of_something_else_is_one_clear_error(
    space: RankSpace, config: dict[str, object], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        space.plan_of_config(config, BUDGET)


def test_the_space_alone_imports_neither_ray_nor_optuna() -> None:
    code = (
        "import sys, rank_search; rank_search.RankSpace.tune_space; sys.exit(len({'ray', 'optuna'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=300).returncode == 0
