"""Somebody else's searcher within a budget, called as Ray calls it; no Ray is started."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from tiny_task import all_plans, tiny_task

from rank_search.errors import InfeasibleBudgetError, InvalidInputError, PlanError
from rank_search.run.budgeted_search import REPEATS, BudgetedSearch
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.space.parameters import parameters_of, values_of
from rank_search.space.tune_space import ranks_of

optuna.logging.set_verbosity(optuna.logging.WARNING)
BUDGET = Budget(macs=0.7)
HAND = {plan: cost["macs"] for plan, cost in all_plans()}
FEASIBLE = {plan for plan, macs in HAND.items() if macs <= int(0.7 * (36 * 36 + 9 * 144 + 12))}


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return tiny_task().space


def worth(plan: RankPlan) -> float:
    return float(sum(sum(choice.ranks) for choice in plan.values()))


def plan_in(config: Any) -> RankPlan:
    assert isinstance(config, dict), config
    return RankPlan.from_json(json.loads(json.dumps(config["plan"])))


def around_optuna(space: RankSpace, seed: int = 0, **more: Any) -> BudgetedSearch:
    searcher = BudgetedSearch(OptunaSearch(seed=seed), space, BUDGET)
    assert searcher.set_search_properties("loss", "min", {**space.tune_space(), **more})
    return searcher


class Recorder(Searcher):  # type: ignore[misc]
    """Suggests points of a list, the last one for ever, and notes what it is told."""

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        super().__init__("loss", "min")
        self.configs, self.told, self.points = configs, {}, []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return self.configs.pop(0) if len(self.configs) > 1 else self.configs[0]

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        assert trial_id not in self.told
        self.told[trial_id] = None if error or result is None else result["loss"]

    def add_evaluated_point(self, parameters: dict[str, Any], value: float, **more: Any) -> None:
        self.points.append((parameters, value))

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_bytes(pickle.dumps(self.told))

    def restore(self, checkpoint_path: str) -> None:
        self.told = pickle.loads(Path(checkpoint_path).read_bytes())


def config_of(space: RankSpace, plan: RankPlan, **more: Any) -> dict[str, Any]:
    parameters = parameters_of(space.layers)
    return {"ranks": ranks_of(parameters, values_of(parameters, space.encode(plan))), **more}


def test_every_plan_within_the_budget_is_tried_once_and_then_it_is_finished(space: RankSpace) -> None:
    searcher, plans = around_optuna(space), []
    while isinstance(config := searcher.suggest(f"t{len(plans)}"), dict):
        plans.append(plan_in(config))
        assert space.plan_of_config(config, BUDGET) == plans[-1]
        searcher.on_trial_complete(f"t{len(plans) - 1}", {"loss": worth(plans[-1]), "training_iteration": 1})
        assert len(plans) <= len(FEASIBLE)
    assert config == Searcher.FINISHED
    assert set(plans) == FEASIBLE


def test_two_hundred_suggestions_in_pairs_without_a_repetition() -> None:
    space = tiny_task(Budget(params=0.95), forms=["tucker2", "svd", "cp"]).space
    inner = OptunaSearch(sampler=optuna.samplers.RandomSampler(seed=0))
    searcher = BudgetedSearch(inner, space, Budget(params=0.95))
    searcher.set_search_properties("loss", "min", space.tune_space())
    plans: list[RankPlan] = []
    for turn in range(100):
        pair = [plan_in(searcher.suggest(f"{turn}-{i}")) for i in range(2)]
        for i in (1, 0):
            searcher.on_trial_complete(f"{turn}-{i}", {"loss": worth(pair[i]), "training_iteration": 1})
        plans += pair
    assert len(set(plans)) == 200
    assert all(space.cost(plan)["params"] <= int(0.95 * 215) for plan in plans)


def test_a_known_plan_is_answered_and_one_under_way_when_it_ends(space: RankSpace) -> None:
    one, two, three = (config_of(space, plan) for plan in sorted(FEASIBLE, key=repr)[:3])
    inner = Recorder([one, one, two, two, one, three])
    searcher = BudgetedSearch(inner, space, BUDGET)
    assert plan_in(searcher.suggest("a")) == space.plan_of_config(one, BUDGET)
    assert plan_in(searcher.suggest("b")) == space.plan_of_config(two, BUDGET)
    assert inner.told == {}
    searcher.on_trial_complete("a", {"loss": 4.0})
    assert inner.told == {"a": 4.0, "b": 4.0}  # the second ask of "b" was its own point
    assert plan_in(searcher.suggest("c")) == space.plan_of_config(three, BUDGET)
    assert inner.told == {"a": 4.0, "b": 4.0, "c-1": 4.0}
    searcher.on_trial_complete("b", {"loss": float("nan")})
    assert inner.told == {"a": 4.0, "b": 4.0, "c-1": 4.0, "b-1": None, "c": None}


def test_after_some_known_plans_an_unseen_one_is_tried_and_the_inner_one_hears_of_it(space: RankSpace) -> None:
    plan = space.project(space.dense, BUDGET)
    inner = Recorder([config_of(space, plan, lr=0.1)])
    searcher = BudgetedSearch(inner, space, BUDGET)
    assert plan_in(searcher.suggest("a")) == plan
    searcher.on_trial_complete("a", {"loss": 4.0})
    config = searcher.suggest("b")
    assert plan_in(config) in FEASIBLE - {plan}
    assert isinstance(config, dict)
    assert config["lr"] == 0.1
    assert len(inner.told) == 1 + REPEATS
    searcher.on_trial_complete("b", {"loss": 2.0})
    flat = {f"ranks/{layer}/{key}": v for layer, values in config["ranks"].items() for key, v in values.items()}
    assert inner.points == [({**flat, "lr": 0.1}, 2.0)]


def test_the_same_plan_with_another_setting_of_ones_own_is_another_trial(space: RankSpace) -> None:
    plan = space.project(space.dense, BUDGET)
    searcher = BudgetedSearch(Recorder([config_of(space, plan, lr=lr) for lr in (0.1, 0.2)]), space, BUDGET)
    configs = [searcher.suggest(name) for name in "ab"]
    assert [plan_in(config) for config in configs] == [plan, plan]
    assert [config["lr"] for config in configs if isinstance(config, dict)] == [0.1, 0.2]


def test_failures_reach_optuna_as_failures_and_nothing_is_left_running(space: RankSpace) -> None:
    searcher = around_optuna(space, lr=tune.loguniform(1e-3, 1.0))
    for name, result, error in [
        ("nan", {"loss": float("nan"), "training_iteration": 1}, False),
        ("none", None, False),
        ("error", None, True),
        ("missing", {"accuracy": 1.0, "training_iteration": 1}, False),
        ("fine", {"loss": 1.0, "training_iteration": 1}, False),
    ]:
        searcher.suggest(name)
        if result is not None:
            searcher.on_trial_result(name, result)
        searcher.on_trial_complete(name, result, error)
    study = searcher._inner._ot_study
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL"] * 4 + ["COMPLETE"]


def test_saved_and_restored_it_suggests_the_same(space: RankSpace, tmp_path: Path) -> None:
    searcher = around_optuna(space)
    for i in range(30):
        plan = plan_in(searcher.suggest(str(i)))
        searcher.on_trial_complete(str(i), {"loss": worth(plan), "training_iteration": 1})
    under_way = plan_in(searcher.suggest("open"))
    searcher.save(str(tmp_path / "state"))
    other = around_optuna(space, seed=5)
    other.restore(str(tmp_path / "state"))
    found: list[list[RankPlan]] = []
    for one in (searcher, other):
        one.on_trial_complete("open", {"loss": worth(under_way), "training_iteration": 1})
        found.append([])
        for i in range(10):
            found[-1].append(plan_in(one.suggest(f"later {i}")))
            one.on_trial_complete(f"later {i}", {"loss": worth(found[-1][-1]), "training_iteration": 1})
    assert found[0] == found[1]


def test_what_cannot_be_wrapped_is_refused_in_one_line(space: RankSpace) -> None:
    with pytest.raises(InvalidInputError, match=r"a str cannot be wrapped: give a ray.tune.search.Searcher"):
        BudgetedSearch("optuna", space, BUDGET)
    with pytest.raises(InfeasibleBudgetError):
        BudgetedSearch(OptunaSearch(), space, Budget(macs=2))
    searcher = BudgetedSearch(Recorder([{"lr": 0.1}]), space, BUDGET)
    with pytest.raises(
        PlanError, match=r"neither 'plan' nor 'ranks' .*: give Tuner\(param_space=space.tune_space\(\)\)"
    ):
        searcher.suggest("a")
    searcher = BudgetedSearch(Recorder([{"ranks": {"first": {"0": 0.5}}}]), space, BUDGET)
    with pytest.raises(PlanError, match="the parameter 'first/1' is missing"):
        searcher.suggest("a")
