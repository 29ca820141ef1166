"""A searcher of the house as a searcher of Ray Tune's, called as Ray calls it; no Ray is started."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
import ray.cloudpickle
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.tune.search.search_generator import SearchGenerator
from tiny_task import all_plans, tiny_task

from rank_search.errors import InvalidInputError
from rank_search.run.tune_searcher import TuneSearcher
from rank_search.space import Budget, RankPlan
from rank_search.task import Limits

HAND = {plan: cost["macs"] for plan, cost in all_plans()}
FEASIBLE = {plan for plan, macs in HAND.items() if macs <= int(0.7 * (36 * 36 + 9 * 144 + 12))}
STEP_BY_STEP = "batude"


def worth(plan: RankPlan) -> float:
    return float(sum(sum(choice.ranks) for choice in plan.values()))


def plan_in(suggestion: Any) -> RankPlan:
    assert isinstance(suggestion, dict), suggestion
    assert suggestion == json.loads(json.dumps(suggestion))
    return RankPlan.from_json(suggestion["plan"])


def suggested(searcher: Searcher, count: int, seed: int | None = None, first: int = 0) -> list[RankPlan]:
    """Two trials at a time, ended in order or in a random one."""
    plans, order = [], random.Random(seed)
    for turn in range(first, first + count // 2):
        pair = {f"{turn}-{i}": searcher.suggest(f"{turn}-{i}") for i in range(2)}
        pair = {name: plan_in(config) for name, config in pair.items() if isinstance(config, dict)}
        plans += pair.values()
        for name in order.sample(list(pair), len(pair)) if seed is not None else pair:
            searcher.on_trial_complete(name, {"loss": worth(pair[name]), "config/plan": "..."})
    return plans


@pytest.mark.parametrize("name", ["random", "evolution", "cmaes", "tpe"])
def test_all_suggestions_are_plans_within_the_budget_none_twice_and_at_the_end_it_is_finished(name: str) -> None:
    searcher = TuneSearcher(name, tiny_task())
    plans = suggested(searcher, 400, seed=0)
    assert set(plans) == FEASIBLE
    assert len(plans) == len(FEASIBLE)
    assert searcher.suggest("more") == Searcher.FINISHED
    assert searcher.ended == "done"
    assert [trial.score for trial in searcher.trials if trial.state == "done"] == [worth(plan) for plan in plans]


def test_two_hundred_suggestions_without_a_repetition() -> None:
    searcher = TuneSearcher("evolution", tiny_task(Budget(params=0.95), forms=["tucker2", "svd", "cp"]), seed=2)
    plans = suggested(searcher, 200, seed=1)
    assert len(plans) == len(set(plans)) == 200
    space = tiny_task(forms=["tucker2", "svd", "cp"]).space
    assert all(space.cost(plan)["params"] <= int(0.95 * 215) for plan in plans)


def test_options_seed_and_mode_are_the_searchers() -> None:
    straight = suggested(TuneSearcher("evolution", tiny_task(), seed=1, population=2, sample=2), 16)
    assert straight == suggested(TuneSearcher("evolution", tiny_task(), seed=1, population=2, sample=2), 16, seed=5)
    assert straight != suggested(TuneSearcher("evolution", tiny_task(), seed=2, population=2, sample=2), 16)
    upwards = TuneSearcher("evolution", tiny_task(), "accuracy", "max")
    plan = plan_in(upwards.suggest("a"))
    upwards.on_trial_complete("a", {"accuracy": 0.75})
    assert [(trial.plan, trial.score, trial.measures) for trial in upwards.trials] == [
        (plan, -0.75, {"accuracy": 0.75})
    ]


@pytest.mark.parametrize(
    ("result", "error", "why"),
    [
        ({"loss": float("nan")}, False, "its trial reported loss=nan"),
        ({"loss": float("inf")}, False, "its trial reported loss=inf"),
        ({"loss": "low"}, False, "its trial reported loss='low', which is no number"),
        ({"accuracy": 1.0}, False, "its trial reported no 'loss'"),
        (None, False, "its trial ended without a result"),
        (None, True, "its trial ended with an error"),
        ({"loss": 1.0}, True, "its trial ended with an error"),
    ],
)
def test_a_trial_without_a_finite_metric_has_failed(result: dict[str, Any] | None, error: bool, why: str) -> None:
    searcher = TuneSearcher("tpe", tiny_task())
    searcher.suggest("a")
    searcher.on_trial_complete("a", result, error)
    assert [(trial.state, trial.failure, trial.score) for trial in searcher.trials] == [("failed", why, None)]
    assert plan_in(searcher.suggest("b")) != searcher.trials[0].plan


def test_a_metric_that_no_result_has_is_one_clear_error(caplog: pytest.LogCaptureFixture) -> None:
    searcher = TuneSearcher("random", tiny_task(), metric="los")
    said = "no trial has reported the metric 'los' that the searcher needs; they report: loss, accuracy"
    with caplog.at_level(logging.ERROR):
        for i in range(3):
            searcher.suggest(str(i))
            searcher.on_trial_complete(str(i), {"loss": 1.0, "accuracy": 0.5, "config/plan": {}, "time_total_s": 1.0})
    assert [record.getMessage() for record in caplog.records] == [said]
    with pytest.raises(InvalidInputError, match=said):
        searcher.suggest("3")


def test_limits_of_the_task_end_it_and_its_own_meter_is_left_alone() -> None:
    task = tiny_task().under(Budget(macs=0.7), limits=Limits(evaluations=5))
    searcher = TuneSearcher("random", task)
    assert len(suggested(searcher, 10)) == 5
    assert searcher.suggest("more") == Searcher.FINISHED
    assert task.meter.evaluations == 0


def test_a_task_without_data_is_enough_where_the_searcher_looks_at_none() -> None:
    assert len(suggested(TuneSearcher("cmaes", tiny_task(data=False)), 10)) == 10


def test_what_cannot_suggest_is_refused_in_one_line() -> None:
    with pytest.raises(
        InvalidInputError, match=r"goes its own way, step by step: only a searcher that asks and is told"
    ):
        TuneSearcher(STEP_BY_STEP, tiny_task())
    with pytest.raises(InvalidInputError, match=r"mode='down' is not allowed: it is 'min' or 'max'"):
        TuneSearcher("random", tiny_task(), mode="down")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="Random has no option 'sigma'"):
        TuneSearcher("random", tiny_task(), sigma=1.0)
    with pytest.raises(InvalidInputError, match="a RankSpace is no task"):
        TuneSearcher("random", tiny_task().space)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["random", "evolution", "cmaes", "tpe"])
def test_saved_and_restored_and_pickled_it_suggests_the_same(name: str, tmp_path: Path) -> None:
    searcher = TuneSearcher(name, tiny_task())
    suggested(searcher, 12)
    under_way = plan_in(searcher.suggest("open"))
    searcher.save(str(tmp_path / "searcher-state-1.pkl"))
    others = [TuneSearcher(name, tiny_task()), ray.cloudpickle.loads(ray.cloudpickle.dumps(searcher))]
    others[0].restore(str(tmp_path / "searcher-state-1.pkl"))
    expected: list[Any] = []
    for one in (searcher, *others):
        one.on_trial_complete("open", {"loss": worth(under_way)})
        expected.append([*suggested(one, 10, first=20), one.trials])
    assert expected[0] == expected[1] == expected[2]
    assert not (tmp_path / "searcher-state-1.pkl").read_bytes().startswith(b"\x80")


def test_a_state_of_another_search_is_refused(tmp_path: Path) -> None:
    TuneSearcher("random", tiny_task()).save(str(tmp_path / "state"))
    for other in (
        TuneSearcher("evolution", tiny_task()),
        TuneSearcher("random", tiny_task(), seed=1),
        TuneSearcher("random", tiny_task(Budget(macs=0.8))),
    ):
        with pytest.raises(InvalidInputError, match="the saved state is of"):
            other.restore(str(tmp_path / "state"))


def test_ray_s_own_wrappers_drive_it() -> None:
    searcher = TuneSearcher("random", tiny_task())
    generator = SearchGenerator(ConcurrencyLimiter(searcher, max_concurrent=2))
    assert generator.metric is None
    assert generator.set_search_properties("accuracy", "max", {"lr": 0.1}) is False
    limited = generator.searcher
    plans = [plan_in(limited.suggest(name)) for name in "ab"]
    assert limited.suggest("c") is None
    limited.on_trial_complete("b", {"loss": 1.0})
    plans.append(plan_in(limited.suggest("d")))
    assert len(set(plans)) == 3
