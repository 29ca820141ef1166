"""A metric of another package, found by its entry point, from the budget to MLflow, without a change of ours."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODULE = '''
from rank_search import Metric


class Energy(Metric):
    """3 a multiply-add, 5 a parameter."""

    name = "energy"
    unit = "units"

    def of_options(self, layer, form, ranks):
        return 3 * form.macs(layer, ranks) + 5 * form.params(layer, ranks)

    def dense(self, layer):
        return 3 * layer.dense_macs + 5 * layer.dense_params

    def measure(self, model, example):
        from rank_search.space.layers.counting import count_macs

        return 3 * count_macs(model, example) + 5 * sum(p.numel() for p in model.parameters())
'''
BUDGET = 0.45


@pytest.fixture
def strangers_package(tmp_path: Path) -> Path:
    """A folder as pip would leave it: the module, and the entry point in its metadata."""
    folder = tmp_path / "site"
    info = folder / "energy_metric-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "energy_metric.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: energy-metric\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rank_search.metrics]\nenergy = energy_metric:Energy\n")
    return folder


def test_it_works_in_inspect_budgets_results_plots_and_mlflow(
    strangers_package: Path, small_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = small_config(
        budgets=[{"energy": BUDGET}], searchers=["knapsack", "random"], seeds=[0], limits={"evaluations": 2}, run={}
    )
    run = tmp_path / "run"

    def command(*words: str) -> str:
        answer = subprocess.run(
            [sys.executable, "-c", "from rank_search.cli import main; main()", *words],
            env={**os.environ, "PYTHONPATH": str(strangers_package)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    assert "energy" in command("list")
    inspected = command("inspect", str(config))
    assert "energy: dense" in inspected
    printed = command("bench", str(config), "--in-process", "--output", str(run))
    assert "energy" in printed
    with (run / "results.csv").open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert row["status"] == "done", row["reason"]
        assert 0 < float(row["kept_energy"]) <= BUDGET
        dense = _dense(inspected)
        expected = 3 * float(row["kept_macs"]) * dense["macs"] + 5 * float(row["kept_params"]) * dense["params"]
        assert float(row["kept_energy"]) * dense["energy"] == pytest.approx(expected)
        with (run / "cells" / row["cell"] / "steps.csv").open(newline="") as file:
            assert all(0 < float(step["kept_energy"]) <= BUDGET for step in csv.DictReader(file))
    assert len(list((run / "plots").glob("*.png"))) >= 3
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("rank-search/small")
    assert experiment is not None
    logged = [found.data.metrics for found in client.search_runs([experiment.experiment_id])]
    kept = sorted(metrics["kept_energy"] for metrics in logged if "kept_energy" in metrics)
    assert kept == pytest.approx(sorted(float(row["kept_energy"]) for row in rows))


def _dense(inspected: str) -> dict[str, int]:
    """The dense network's cost per metric, as ``inspect`` prints it."""
    lines = [line for line in inspected.splitlines() if ": dense " in line]
    return {
        line.split(":")[0]: int(line.split("dense ")[1].split(",  ")[0].split(", s")[0].replace(",", ""))
        for line in lines
    }
