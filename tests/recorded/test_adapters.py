"""Recorded tables in Optuna's and Syne Tune's hands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest

from rank_search.recorded import load_recorded, read_recording
from rank_search.recorded.adapters import optuna_objective, syne_tune_blackbox
from rank_search.space import Budget, RankPlan

pytestmark = pytest.mark.usefixtures("single_thread")


def test_a_study_finds_the_best_plan_within_the_budget(recorded_folder: Path) -> None:
    task = load_recorded(recorded_folder, Budget(macs=0.8))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.BruteForceSampler(seed=0))
    study.optimize(optuna_objective(task), n_trials=40)
    recording = task.recording
    inside = recording.column("macs") <= np.floor(0.8 * task.space.dense_cost["macs"])
    assert study.best_value == recording.column("val_loss")[inside].min()
    plan = RankPlan.from_json(study.best_trial.user_attrs["plan"])
    assert task.admit(plan)["macs"] == study.best_trial.user_attrs["macs"]
    pruned = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert len(pruned) == (~inside).sum()


def test_a_blackbox_gives_what_was_recorded(recorded_folder: Path) -> None:
    pytest.importorskip("syne_tune.blackbox_repository.blackbox_tabular", reason="Syne Tune is not installed")
    recording = read_recording(recorded_folder)
    blackbox = syne_tune_blackbox(recording)
    for place in (0, 7, 15):
        found = blackbox({f"option_{i}": int(o) for i, o in enumerate(recording.rows[place])}, fidelity=1)
        assert found["val_loss"] == recording.column("val_loss")[place]
        assert found["macs"] == recording.column("macs")[place]
        assert found["seconds"] == recording.column("seconds")[place]
