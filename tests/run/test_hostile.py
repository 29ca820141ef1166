"""Hostile searchers beside honest ones: each costs its own cell, and the honest cells are the same to the byte."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_bench import SMALL

COMMAND = [sys.executable, "-c", "from rank_search.cli import main; main()", "bench"]
TIMES = {"latency_ms", "dense_latency_ms", "search_seconds", "search_cpu_seconds", "finetune_seconds"}
HONEST = ["knapsack", "random", "tpe", "uniform"]
REASONS = {
    "Trains": "changed the weights of the dense network",
    "Thaws": "changed the training mode of the dense network, which weights of the dense network are frozen",
    "Hooks": "changed the modules and hooks of the dense network",
    "Cheapens": "changed the table of options of layer 'conv1'",
    "Unlocks": "changed the table of options of layer 'conv1'",
    "WritesTables": "ValueError: assignment destination is read-only",
    "WritesErrors": "ValueError: assignment destination is read-only",
    "WritesFactors": "changed decompositions that are kept in memory",
    "WritesData": "changed the data",
    "WritesRecipe": "changed the recipe",
    "Exits": "raised SystemExit: 3 (hostile_searchers.py:",
    "Vanishes": "was stopped: it called os._exit",
    "Kills": "was stopped: it called os.kill on its own process",
    "Forks": "was stopped: it called os.fork",
    "ExitsWhenMade": "ExitsWhenMade(...) raised SystemExit: not today",
    "Recurses": "raised RecursionError",
    "Gorges": "raised RuntimeError",
    "Spins": "ended: cpu_seconds",
    "RefundsItself": "evaluations=-1 cannot be charged",
    "Babbles": "raised RuntimeError: no no no",
    "Overspends": "proposed a plan that is not allowed, at step 1",
    "Invents": "returned the score nan at step 1",
    "Peeks": "samples_forward would pass the limit of 20000",
}
"""What each one's row says."""
ARMS = ["knapsack", *REASONS, "Messy", "random", "tpe", "uniform"]


def bench(config: Path, output: Path, *options: str) -> str:
    done = subprocess.run(
        [*COMMAND, str(config), "--output", str(output), *options],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,  # where hostile_searchers is
        env={**os.environ, "COLUMNS": "200"},
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def named(searcher: str) -> Any:
    return searcher if searcher in HONEST else {"name": f"hostile_searchers:{searcher}", "label": searcher}


def settings(searchers: list[str], **limits: Any) -> dict[str, Any]:
    return {
        "budgets": [{"macs": 0.5}],
        "searchers": [named(searcher) for searcher in searchers],
        "seeds": [0],
        "limits": {"evaluations": 6, **limits},
        "run": {**SMALL["run"], "workers": 2},
    }


def cell(folder: Path, searcher: str) -> Path:
    return folder / "cells" / f"digits-macs=0.5-{searcher}-s0"


def contents(place: Path) -> dict[str, Any]:
    """All that a cell left, without what a clock measured."""
    row = {key: value for key, value in json.loads((place / "result.json").read_text()).items() if key not in TIMES}
    with (place / "steps.csv").open(newline="") as file:
        steps = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    files = {name: (place / name).read_bytes() for name in ("plan.json", "model.safetensors")}
    return {"row": row, "steps": steps, **files}


@pytest.fixture(scope="module")
def runs() -> dict[str, Path]:
    return {}


@pytest.fixture
def alone(small_config: Callable[..., Path], runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The honest searchers by themselves."""
    if "alone" not in runs:
        folder = tmp_path_factory.mktemp("alone") / "run"
        bench(small_config(**settings(HONEST, cpu_seconds=60, samples_forward=20000)), folder, "--in-process")
        runs["alone"] = folder
    return runs["alone"]


@pytest.mark.parametrize("where", ["in process", "under Ray"])
def test_hostile_searchers_cost_their_own_cells_and_nothing_else(
    where: str, alone: Path, small_config: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    config = small_config(**settings(ARMS, cpu_seconds=60, samples_forward=20000))
    spinning = ("--set", "limits.cpu_seconds=5")  # honest cells take less than one
    said = bench(config, folder, *spinning, *(["--in-process"] if where == "in process" else []))
    for searcher in HONEST:
        assert contents(cell(folder, searcher)) == contents(cell(alone, searcher)), searcher
    for searcher, reason in REASONS.items():
        row = json.loads((cell(folder, searcher) / "result.json").read_text())
        assert row["status"] == "failed", searcher
        assert reason in row["reason"], (searcher, row["reason"])
        traceback = (cell(folder, searcher) / "traceback.txt").read_text()
        assert traceback.startswith(f"{row['cell']}\n{row['reason']}\n"), searcher
        assert "Traceback (most recent call last)" in traceback
        assert not (cell(folder, searcher) / "plan.json").exists()
    assert json.loads((cell(folder, "Messy") / "result.json").read_text())["status"] == "done"
    assert f"{len(REASONS)} cells failed" in said
    assert max(map(len, said.splitlines())) < 400  # a reason of 15,000 letters is cut


def test_a_step_that_cannot_be_interrupted_and_a_worker_that_dies_cost_one_cell_each_under_ray(
    small_config: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    config = small_config(**settings(["Sleeps", "Crashes", "knapsack"], wall_seconds=8))
    said = bench(config, folder, "--set", "run.retries=1")
    rows = {name: json.loads((cell(folder, name) / "result.json").read_text()) for name in ("Sleeps", "Crashes")}
    assert rows["Sleeps"]["reason"].startswith("wall_seconds passed, and its step could not be interrupted")
    assert "time.sleep(10**6)" in (cell(folder, "Sleeps") / "traceback.txt").read_text()
    assert rows["Crashes"]["reason"].startswith("its worker was lost 2 times (killed, out of memory or crashed)")
    assert json.loads((cell(folder, "knapsack") / "result.json").read_text())["status"] == "done"
    assert "2 cells failed" in said
