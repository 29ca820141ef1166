"""Recordings on disk: what they hold, and what is said of damaged ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_recording import NAME, tiny_config

from rank_search.errors import RecordingError, RunError, UnknownNameError
from rank_search.recorded import load_recorded, read_recording, recordings
from rank_search.recorded.recording import plans_of
from rank_search.run.recorder import record
from rank_search.space import Budget

pytestmark = pytest.mark.usefixtures("single_thread")


def test_a_small_space_is_recorded_whole_and_every_plan_once(recorded_folder: Path) -> None:
    recording = read_recording(recorded_folder)
    assert recording.exhaustive
    assert len(recording.plans) == math.prod(len(layer["options"]) for layer in recording.manifest["layers"]) == 16
    assert len(recording.positions) == 16
    assert len(set(plans_of(recording))) == 16


def test_a_recorded_evaluation_is_what_the_real_task_says_of_the_same_plan(recorded_folder: Path) -> None:
    task = load_recorded(recorded_folder, Budget(macs=1.0))
    real = super(type(task), task)
    for plan in list(plans_of(task.recording))[::3]:
        if task.space.cost(plan)["macs"] > task.space.dense_cost["macs"]:
            continue
        looked_up, computed = task.judge(plan), real.judge(plan)
        assert looked_up.score == pytest.approx(computed.score, rel=1e-4)
        assert dict(looked_up.measures) == pytest.approx(dict(computed.measures), rel=1e-4)
        assert looked_up.samples == computed.samples == 50


def test_weight_errors_and_costs_are_those_of_the_network(recorded_folder: Path) -> None:
    recording = read_recording(recorded_folder)
    task = load_recorded(recorded_folder, Budget(macs=1.0))
    fresh = [options.relative_errors_of(options.weight) for options in task.space.layers]  # decomposed anew
    for given, computed in zip(task.relative_errors(), fresh, strict=True):
        assert given == pytest.approx(computed, rel=1e-9, abs=1e-12)
    costs = task.space.costs(recording.rows)
    for column, metric in enumerate(task.space.metric_names):
        assert (costs[:, column] == recording.column(metric)).all()
    errors = [np.array(layer["errors"]) for layer in recording.manifest["layers"]]
    sums = sum(error[rows] for error, rows in zip(errors, recording.rows.T, strict=True))
    assert recording.column("weight_error") == pytest.approx(sums, rel=1e-5, abs=1e-7)


def test_fine_tuned_plans_have_a_row_per_seed_and_are_better_on_the_whole(recorded_folder: Path) -> None:
    recording = read_recording(recorded_folder)
    tuned = recording.finetuned
    assert len(tuned) == 6
    assert sorted(tuned["seed"].unique()) == [0, 1]
    before = recording.column("val_loss")[tuned["plan"].to_numpy()]
    assert tuned["val_loss"].mean() < before.mean()


@pytest.mark.parametrize("file", ["plans.parquet", "finetuned.parquet", "dense.safetensors"])
def test_a_damaged_file_is_named_with_its_hash(own_recording: Callable[[], Path], file: str) -> None:
    folder = own_recording()
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    expected = json.loads((folder / "recording.json").read_text())["files"][file]
    with pytest.raises(RecordingError, match=f"{file} is damaged: its SHA-256 is .*{expected}") as caught:
        load_recorded(folder)
    assert "\n" not in str(caught.value)
    (folder / file).unlink()
    with pytest.raises(RecordingError, match=f"{file} is missing"):
        load_recorded(folder)


def test_a_manifest_that_is_none_or_of_another_format_is_refused(own_recording: Callable[[], Path]) -> None:
    folder = own_recording()
    manifest = json.loads((folder / "recording.json").read_text())
    (folder / "recording.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(RecordingError, match="format 99"):
        load_recorded(folder)
    (folder / "recording.json").write_text("{")
    with pytest.raises(RecordingError, match="not valid JSON"):
        load_recorded(folder)
    (folder / "recording.json").write_text("[]")
    with pytest.raises(RecordingError, match="no manifest"):
        load_recorded(folder)


def test_an_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown recorded task 'digit'.*did you mean 'digits'"):
        load_recorded("digit")


def test_the_installed_recordings_are_whole_small_and_large_enough() -> None:
    assert len(recordings()) >= 3
    total = 0
    for name in recordings():
        recording = read_recording(name)
        assert recording.exhaustive
        assert len(recording.plans) >= 20_000
        assert recording.finetuned["plan"].nunique() >= 90
        assert recording.finetuned["seed"].nunique() == 3
        assert (recording.folder / "DATASHEET.md").read_text().startswith(f"# Datasheet: the recorded task `{name}`")
        total += sum(file.stat().st_size for file in recording.folder.iterdir())
    assert total < 6 * 2**20


def test_a_recording_that_was_interrupted_goes_on_and_gives_the_same(
    recorded_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK_SEARCH_CACHE", str(recorded_folder.parent / "cache"))
    monkeypatch.setattr("rank_search.run.recorder.CHUNK", 5)
    said: list[tuple[str, int, int]] = []

    def interrupt(what: str, done: int, total: int) -> None:
        said.append((what, done, total))
        if done == 2:
            raise KeyboardInterrupt

    output = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        record(tiny_config(), NAME, output, finetuned=3, seeds=[0, 1], in_process=True, tell=interrupt)
    with pytest.raises(RunError, match="begun with another finetuned"):
        record(tiny_config(), NAME, output, finetuned=4, seeds=[0, 1], in_process=True)
    resumed: list[tuple[str, int, int]] = []
    record(
        tiny_config(), NAME, output, finetuned=3, seeds=[0, 1], in_process=True,
        tell=lambda what, done, total: resumed.append((what, done, total)),
    )  # fmt: skip
    assert resumed[0] == ("plans", 2, 4)
    whole, again = read_recording(recorded_folder), read_recording(output)
    for column in ("val_loss", "test_loss", "raw_val_loss", "weight_error", "macs"):
        assert (whole.column(column) == again.column(column)).all()
    assert not (output / "work").exists()
    with pytest.raises(RunError, match="holds a finished recording"):
        record(tiny_config(), NAME, output, in_process=True)
