"""The same config gives the same bytes however it is run; nothing is lost by a kill. Real processes, real Ray."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rank_search import load, load_model
from rank_search.space.layers.counting import count_macs

COMMAND = [sys.executable, "-c", "from rank_search.cli import main; main()", "bench"]
TIMES = ("latency_ms", "dense_latency_ms", "search_seconds", "search_cpu_seconds", "finetune_seconds")


def start(config: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, str(config), "--output", str(output), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run in background
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    return said


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]


def plans(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("cells/*/plan.json"))}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.fixture
def reference(small_config: Callable[..., Path], runs: dict[str, Path], tmp_path_factory: Any) -> Path:
    """The run in process that all others are compared with."""
    if "reference" not in runs:
        folder = tmp_path_factory.mktemp("reference") / "run"
        finish(start(small_config(), folder, "--in-process"))
        runs["reference"] = folder
    return runs["reference"]


def test_no_saved_network_is_over_its_budget(reference: Path) -> None:
    dense = load_model("digits_net", width=6)
    full = {"macs": count_macs(dense, torch.zeros(1, 1, 8, 8)), "params": sum(p.numel() for p in dense.parameters())}
    found = rows(reference)
    assert len(found) == 16
    assert {row["status"] for row in found} == {"done"}
    for row in found:
        network = load(reference / "cells" / row["cell"], lambda: load_model("digits_net", width=6))
        counted = {
            "macs": count_macs(network, torch.zeros(1, 1, 8, 8)),
            "params": sum(parameter.numel() for parameter in network.parameters()),
        }
        for bound in row["budget"].split(","):
            metric, share = bound.split("=")
            assert counted[metric] <= float(share) * full[metric], row["cell"]
        for metric in counted:
            assert float(row[f"kept_{metric}"]) == pytest.approx(counted[metric] / full[metric], abs=1e-12)


@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_same_plans_and_accuracies_as_one_process(
    workers: int, reference: Path, small_config: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    finish(start(small_config(), folder, "--set", f"run.workers={workers}"))
    assert plans(folder) == plans(reference)
    assert rows(folder) == rows(reference)


def test_kill_and_resume_lose_nothing_and_mlflow_shows_one_run_per_cell(
    reference: Path, small_config: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    tracked = ("--set", "run.workers=2", "--set", "run.tracking=null")
    process = start(small_config(), folder, *tracked)
    deadline = time.monotonic() + 900
    while not (folder / "results.csv").exists() or len(rows(folder)) < 3:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no cell finished"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = rows(folder)
    assert 3 <= len(done) < 16, "the kill came too late to test anything"
    weights = {row["cell"]: (folder / "cells" / row["cell"] / "model.safetensors").stat().st_mtime_ns for row in done}

    finish(start(small_config(), folder, *tracked, "--resume"))
    assert plans(folder) == plans(reference)
    assert rows(folder) == rows(reference)
    for cell, written in weights.items():
        assert (folder / "cells" / cell / "model.safetensors").stat().st_mtime_ns == written, f"{cell} ran again"

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("rank-search/small")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert sorted(run.data.tags["rank_search.cell"] for run in children) == sorted(row["cell"] for row in rows(folder))
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    by_cell = {row["cell"]: row for row in rows(folder)}
    for run in children:
        assert run.data.metrics["val_accuracy"] == float(by_cell[run.data.tags["rank_search.cell"]]["val_accuracy"])
        names = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert {"plan.json", "model.safetensors", "steps.csv", "result.json"} <= names


def test_ctrl_c_keeps_finished_cells_and_says_how_to_go_on(
    reference: Path, small_config: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = start(small_config(), folder, "--in-process")
    while not (folder / "results.csv").exists() or len(rows(folder)) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    finish(start(small_config(), folder, "--in-process", "--resume"))
    assert rows(folder) == rows(reference)
    assert plans(folder) == plans(reference)
