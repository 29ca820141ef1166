"""The optional table of refitted plans: made with a recording or added to one, read back, and true."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_recording import NAME, tiny_config
from typer.testing import CliRunner

import rank_search as rs
from rank_search.cli import app
from rank_search.errors import ConfigError, RecordingError, RunError
from rank_search.recorded.load import data_of, network_of
from rank_search.recorded.recording import plans_of, read_recording, recordings, sha256
from rank_search.run.recorder import record
from rank_search.run.recording_files import WORK
from rank_search.run.refit_recording import refit_recording

pytestmark = pytest.mark.usefixtures("single_thread")

TABLE = "refitted.parquet"
WITHIN = rs.Budget(macs=0.9)


def without_table(folder: Path) -> Path:
    """The recording as it was before there was such a table."""
    manifest = json.loads((folder / "recording.json").read_text())
    del manifest["refitted"], manifest["files"][TABLE]
    (folder / "recording.json").write_text(json.dumps(manifest))
    (folder / TABLE).unlink()
    return folder


def refit(folder: Path, near: int, answers: tuple[int, ...] = (), **named: object) -> pd.DataFrame:
    """The table after it was added to or made."""
    refit_recording(folder, tiny_config().run, [WITHIN], near, answers, in_process=True, **named)  # type: ignore[arg-type]
    table = read_recording(folder).refitted
    assert table is not None
    return table


def test_a_row_is_what_a_task_with_the_refit_says_of_the_plan(recorded_folder: Path) -> None:
    recording = read_recording(recorded_folder)
    assert recording.refitted is not None
    model, data = network_of(recording), data_of(recording)
    space = rs.RankSpace.from_model(model, data.example(), ["tucker2", "cp"], include=["conv4", "conv5"])
    task = rs.Task(
        model, space, rs.Budget(macs=2**62), data, evaluation_samples=50, repair="refit", repair_inputs=512
    )  # a space of its own, with every rank
    shown = next(iter(data.batches(data.test, 60)))
    on_test = rs.Task(
        model, space, task.budget, rs.TensorData((shown.inputs, shown.targets), (shown.inputs, shown.targets))
    )
    plans, checked = list(plans_of(recording)), 0
    for _, row in recording.refitted.iterrows():
        plan = plans[int(row["plan"])]
        network = task.compress(plan)
        assert row["val_loss"] == pytest.approx(task.score(network).score, rel=1e-4)
        assert row["test_loss"] == pytest.approx(on_test.validate(network).score, rel=1e-4)
        checked += 1
    assert checked >= 3
    assert not np.allclose(recording.refitted["val_loss"], recording.column("val_loss")[recording.refitted["plan"]])


def test_the_plans_are_the_fine_tuned_ones_the_best_within_the_budget_and_the_answers(
    own_recording: Callable[[], Path],
) -> None:
    folder = without_table(own_recording())
    recording = read_recording(folder)
    table = refit(folder, near=2, answers=(7, 0))
    plans = recording.plans
    inside = plans.loc[plans["macs"] <= 0.9 * recording.manifest["dense"]["cost"]["macs"]]
    best = inside["val_loss"].sort_values().index[:2]
    assert set(table["plan"]) == {*recording.finetuned["plan"], *best, 7, 0}
    assert table["plan"].is_unique
    manifest = read_recording(folder).manifest
    assert (manifest["refitted"]["repair"], manifest["refitted"]["inputs"]) == ("refit", 512)
    assert manifest["refitted"]["asked"] == [{"budgets": ["macs=0.9"], "near": 2, "answers": 2}]
    sheet = " ".join((folder / "DATASHEET.md").read_text().split())
    assert f"{len(table)} plans after `repair: refit` on 512 training inputs" in sheet
    assert "2 each of least recalibrated validation loss within macs=0.9, 2 that searches answered with" in sheet
    refit(folder, near=1, answers=(1,))
    asked = read_recording(folder).manifest["refitted"]["asked"]
    assert asked == [{"budgets": ["macs=0.9"], "near": 2, "answers": 2}]


def test_rows_that_are_there_are_not_measured_again(
    own_recording: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = without_table(own_recording())
    first = refit(folder, near=0)
    measured: list[int] = []
    monkeypatch.setattr("rank_search.run.refit_recording.refit_plan", lambda *_: measured.append(1) or {"seconds": 1.0})
    again = refit(folder, near=1, answers=(0, 7, 9))
    assert len(measured) == len(again) - len(first) > 0
    kept = again.set_index("plan").loc[first["plan"]].reset_index()
    pd.testing.assert_frame_equal(kept, first)


def test_what_was_interrupted_goes_on_and_gives_the_same(
    own_recording: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_recording(own_recording())
    assert whole.refitted is not None
    monkeypatch.setattr("rank_search.run.refit_recording.CHUNK", 2)
    folder = without_table(whole.folder)

    def interrupt(what: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refit(folder, near=16, tell=interrupt)
    assert read_recording(folder).refitted is None
    assert len(list((folder / WORK).rglob("*.parquet"))) == 1
    pd.testing.assert_frame_equal(
        refit(folder, near=16).drop(columns="seconds"), whole.refitted.drop(columns="seconds")
    )
    assert not (folder / WORK).exists()


def test_the_command_goes_on_where_only_the_refits_are_missing(
    own_recording: Callable[[], Path], tmp_path: Path
) -> None:
    folder = without_table(own_recording())
    (folder / WORK).mkdir()
    record(tiny_config(), NAME, folder, finetuned=3, seeds=[0, 1], refitted=0, in_process=True)
    recording = read_recording(folder)
    assert recording.refitted is not None
    assert set(recording.refitted["plan"]) == set(recording.finetuned["plan"])


def test_a_recording_without_the_table_is_read_as_before(own_recording: Callable[[], Path]) -> None:
    folder = without_table(own_recording())
    assert read_recording(folder).refitted is None
    assert rs.search(rs.load_recorded(folder, WITHIN), "random", rs.Limits(evaluations=3)).score is not None
    shutil.copy(folder / "finetuned.parquet", folder / TABLE)  # a file that no manifest names is none of it
    assert read_recording(folder).refitted is None


def test_a_damaged_table_is_refused(own_recording: Callable[[], Path]) -> None:
    folder = own_recording()
    (folder / TABLE).write_bytes((folder / TABLE).read_bytes()[:-1])
    with pytest.raises(RecordingError, match=f"{TABLE} is damaged"):
        read_recording(folder)
    (folder / TABLE).unlink()
    with pytest.raises(RecordingError, match=f"{TABLE} is missing"):
        read_recording(folder)


def test_rows_of_another_repair_are_not_mixed(own_recording: Callable[[], Path]) -> None:
    folder = own_recording()
    manifest = json.loads((folder / "recording.json").read_text())
    manifest["refitted"]["inputs"] = 100
    (folder / "recording.json").write_text(json.dumps(manifest))
    before = sha256(folder / TABLE)
    with pytest.raises(RunError, match="after refit on 100 inputs, this version measures refit on 512"):
        refit(folder, near=16)
    assert sha256(folder / TABLE) == before


def test_the_installed_recordings_have_small_tables() -> None:
    for name in recordings():
        recording = read_recording(name)
        table = recording.refitted
        assert table is not None
        assert table["plan"].is_unique
        assert set(recording.finetuned["plan"]) <= set(table["plan"])
        assert np.isfinite(table["val_loss"]).all()
        assert (recording.folder / TABLE).stat().st_size < 300_000
        assert recording.manifest["refitted"]["plans"] == len(table)


def test_the_command_adds_to_a_finished_recording_and_wants_one_for_answers(
    own_recording: Callable[[], Path], tmp_path: Path
) -> None:
    folder = without_table(own_recording())
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(tiny_config().model_dump(mode="json")))
    given = ["record", str(config), "--output", str(folder), "--in-process", "--refitted", "1"]
    said = CliRunner().invoke(app, given)
    assert "--refit-only" in str(said.exception)
    said = CliRunner().invoke(app, [*given, "--answers", str(tmp_path)])
    assert isinstance(said.exception, ConfigError)
    assert CliRunner().invoke(app, [*given, "--refit-only"]).exit_code == 0
    recording = read_recording(folder)
    assert recording.refitted is not None
    assert recording.manifest["refitted"]["asked"] == [{"budgets": ["macs=0.9"], "near": 1, "answers": 0}]
