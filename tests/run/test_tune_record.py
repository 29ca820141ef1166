"""What Ray has put down at another moment than the searcher is taken over when both are restored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search.optuna import OptunaSearch
from tiny_task import tiny_task

from rank_search.run.budgeted_search import BudgetedSearch
from rank_search.run.tune_record import tune_records
from rank_search.run.tune_searcher import TuneSearcher
from rank_search.space import RankPlan


def snapshot(folder: Path, trials: dict[str, tuple[str, Any, dict[str, Any] | None]]) -> None:
    """Writes trials as Ray does: id to status, configuration and last result."""
    data = [
        [
            json.dumps({"trial_id": trial_id, "status": status, "config": config}),
            json.dumps({"last_result": result}),
        ]
        for trial_id, (status, config, result) in trials.items()
    ]
    (folder / "experiment_state-2026-01-01_00-00-00.json").write_text(json.dumps({"trial_data": data}))


def test_a_trial_that_ray_lost_is_suggested_again_and_one_that_ended_is_told(tmp_path: Path) -> None:
    searcher, ahead = TuneSearcher("random", tiny_task(), "val/loss"), TuneSearcher("random", tiny_task(), "val/loss")
    configs = [searcher.suggest(name) for name in "abc"]
    later = [ahead.suggest(str(i)) for i in range(5)]
    assert later[:3] == configs
    searcher.save(str(tmp_path / "searcher-state-x.pkl"))
    snapshot(
        tmp_path,
        {
            "a": ("TERMINATED", configs[0], {"val": {"loss": 2.5}, "done": True}),
            "c": ("RUNNING", configs[2], None),
            "d": ("ERROR", later[3], None),
        },
    )
    other = TuneSearcher("random", tiny_task(), "val/loss")
    other.restore(str(tmp_path / "searcher-state-x.pkl"))
    assert [(trial.score, trial.plan) for trial in other.trials] == [(2.5, RankPlan.from_json(configs[0]["plan"]))]
    assert [other.suggest("e"), other.suggest("f")] == [configs[1], later[4]]
    for name in "ecf":
        other.on_trial_complete(name, {"val/loss": 1.0})
    assert [trial.state for trial in other.trials] == ["done", "done", "done", "failed", "done"]


def test_a_wrapped_searcher_gives_up_what_ray_lost(tmp_path: Path) -> None:
    task = tiny_task()

    def fresh() -> BudgetedSearch:
        made = BudgetedSearch(OptunaSearch(seed=0), task.space, task.budget)
        made.set_search_properties("loss", "min", task.space.tune_space())
        return made

    searcher = fresh()
    configs = {name: searcher.suggest(name) for name in "abc"}
    searcher.save(str(tmp_path / "searcher-state-x.pkl"))
    snapshot(
        tmp_path,
        {
            "a": ("TERMINATED", configs["a"], {"loss": 2.0, "training_iteration": 1}),
            "b": ("PENDING", configs["b"], None),
        },
    )
    other = fresh()
    other.restore(str(tmp_path / "searcher-state-x.pkl"))
    assert [trial.state.name for trial in other._inner._ot_study.trials] == ["COMPLETE", "RUNNING", "FAIL"]
    other.on_trial_complete("b", {"loss": 1.0, "training_iteration": 1})
    assert [trial.state.name for trial in other._inner._ot_study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"trial_data": [1]}', '{"trial_data": [["{}", "{}"]]}'])
def test_a_snapshot_that_cannot_be_read_is_none(text: str, tmp_path: Path) -> None:
    assert tune_records(tmp_path) is None
    (tmp_path / "experiment_state-1.json").write_text(text)
    assert tune_records(tmp_path) is None
