"""A recorded task: look-ups that are charged, limited and refused as real evaluations are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rank_search.errors import InfeasibleBudgetError, OverBudgetError, PlanError, RecordingError
from rank_search.recorded import Recording, load_recorded, read_recording
from rank_search.recorded.load import task_of_recording
from rank_search.searching import search
from rank_search.space import Budget, Choice, RankPlan
from rank_search.task import Limits

pytestmark = pytest.mark.usefixtures("single_thread")


def cut(recording: Recording, rows: np.ndarray) -> Recording:
    """The recording with only some of its plans."""
    plans: pd.DataFrame = recording.plans.loc[rows].reset_index(drop=True)
    return Recording(recording.name, recording.folder, recording.manifest, plans, recording.finetuned)


def test_a_search_finds_the_best_recorded_plan_and_is_charged_as_if_it_had_run(recorded_folder: Path) -> None:
    task = load_recorded(recorded_folder, Budget(macs=0.9))
    recording = task.recording
    inside = recording.column("macs") <= np.floor(0.9 * task.space.dense_cost["macs"])
    found = search(task, "random", Limits(evaluations=100))
    assert found.meter["evaluations"] == inside.sum()
    assert found.score == recording.column("val_loss")[inside].min()
    assert found.meter["samples_forward"] == inside.sum() * (50 + 2 * 32)
    assert found.meter["cpu_seconds"] >= recording.column("seconds")[inside].sum()
    assert found.meter["wall_seconds"] >= recording.column("seconds")[inside].sum()


def test_a_limit_on_simulated_seconds_ends_the_search(recorded_folder: Path) -> None:
    whole = read_recording(recorded_folder)
    slow = Recording(whole.name, whole.folder, whole.manifest, whole.plans.assign(seconds=3600.0), whole.finetuned)
    task = task_of_recording(slow, Budget(macs=0.9))
    found = search(task, "random", Limits(evaluations=100, cpu_seconds=1800))
    assert found.ended == "cpu_seconds"
    assert found.meter["evaluations"] == 1


def test_what_is_over_the_budget_or_not_of_the_space_is_refused(recorded_folder: Path) -> None:
    task = load_recorded(recorded_folder, Budget(macs=0.8))
    with pytest.raises(OverBudgetError, match=r"the budget macs=0\.8 allows"):
        task.evaluate(task.space.dense)
    with pytest.raises(PlanError, match="conv4"):
        task.evaluate(RankPlan({"conv4": Choice("tucker2", (999, 1))}))
    assert task.meter.evaluations == 0


def test_a_plan_that_was_not_recorded_is_an_error_that_says_so(recorded_folder: Path) -> None:
    whole = read_recording(recorded_folder)
    part = cut(whole, np.arange(1, 16))
    task = task_of_recording(part, Budget(macs=1.0))
    with pytest.raises(RecordingError, match="does not hold this plan; it holds 15 of 16"):
        task.evaluate(task.space.dense)


def test_a_budget_that_no_recorded_plan_meets_is_an_error(recorded_folder: Path) -> None:
    whole = read_recording(recorded_folder)
    with pytest.raises(InfeasibleBudgetError, match="the smallest reachable"):
        load_recorded(recorded_folder, Budget(macs=0.01))
    dear = cut(whole, np.flatnonzero(whole.column("macs") > 0.9 * whole.column("macs").max()))
    with pytest.raises(InfeasibleBudgetError, match=r"no plan of the recording 'tiny' meets the budget macs=0\.8"):
        task_of_recording(dear, Budget(macs=0.8))
    task = task_of_recording(dear, Budget(macs=1.0))
    with pytest.raises(InfeasibleBudgetError, match="no plan of the recording"):
        task.under(Budget(macs=0.8))


def test_methods_that_need_weights_or_training_get_the_real_network(recorded_folder: Path) -> None:
    task = load_recorded(recorded_folder, Budget(macs=0.8))
    trained = search(task, "lc", Limits(evaluations=8), epochs=1)
    assert trained.trained is not None
    tuned = task.finetune(trained.plan, epochs=1, trained=trained.trained)
    assert task.validate(tuned).score < 10


def test_no_test_loss_can_be_reached_from_what_a_searcher_sees(recorded_folder: Path) -> None:
    from rank_search.task import Oracles

    seen = Oracles(load_recorded(recorded_folder, Budget(macs=0.8)))
    assert not [name for name in vars(seen) if "record" in name.lower()]
    assert {*seen.evaluate(seen.space.random_plan(np.random.default_rng(0), seen.budget)).measures} == {
        "loss",
        "accuracy",
    }


def test_a_cell_of_a_bench_runs_on_a_recorded_task(
    recorded_folder: Path, tmp_path: Path, own_recording: Callable[[], Path]
) -> None:
    from rank_search.errors import ConfigError
    from rank_search.records.results import read_results
    from rank_search.run.bench import bench
    from rank_search.run.config import Config, load_config

    config = tmp_path / "c.yaml"
    text = (
        "name: c\ntasks: {{t: {{recorded: {where}{more}}}}}\nbudgets: [{{macs: 0.8}}]\nsearchers: [knapsack, random]\n"
        "seeds: [0]\nlimits: {{evaluations: 6}}\nrun: {{tracking: none}}\n"
    )
    config.write_text(text.format(where=recorded_folder, more=""))
    loaded = load_config(config)
    assert isinstance(loaded, Config)
    rows = read_results(bench(loaded, tmp_path / "run", in_process=True))
    assert list(rows["status"]) == ["done", "done"]
    assert rows.loc[1, "evaluations"] == 6
    config.write_text(text.format(where=recorded_folder, more=", finetune: {epochs: 7}"))
    with pytest.raises(ConfigError, match="finetune is given beside recorded"):
        load_config(config)
    config.write_text(text.format(where="nowhere", more=""))
    with pytest.raises(ConfigError, match="unknown recorded task 'nowhere'"):
        load_config(config)
