"""A bench and its folder from the command line: one at a time, in a folder of any name, and what it says of MLflow."""

from __future__ import annotations

import csv
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_bench import SMALL
from tracked_run import artifacts, logged

from rank_search import cli
from rank_search.errors import RunError
from rank_search.run.bench import bench
from rank_search.run.config import load_config
from rank_search.run.lock import only_writer
from rank_search.run.observer import Observer
from rank_search.run.single import run_single
from rank_search.run.tracking_database import database_path

pytestmark = pytest.mark.usefixtures("single_thread")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command line in this process: exit code, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rank-search", *map(str, words)])
        monkeypatch.setattr(sys, "path", [*sys.path])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def one_cell(small_config: Callable[..., Path]) -> Callable[..., Path]:
    """The small config with one cell, which trains next to nothing."""
    digits = {**SMALL["tasks"]["digits"], "finetune": {"epochs": 0}}

    def write(**changes: Any) -> Path:
        one = {"tasks": {"digits": digits}, "searchers": ["knapsack"], "budgets": [{"macs": 0.5}], "seeds": [0]}
        return small_config(**{**one, "run": {"workers": 1}, **changes})

    return write


def test_a_folder_of_any_name_holds_all_and_is_found_again(
    call: Call, one_cell: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "größe ?50% #1"
    code, out, err = call("bench", one_cell(), "--in-process", "--output", folder)
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("MLflow:")]
    words = shlex.split(line.removeprefix("MLflow:"))
    assert words[1:3] == ["ui", "--backend-store-uri"]
    assert database_path(words[3]) == folder / "mlflow.db"
    code, out, err = call("bench", one_cell(), "--in-process", "--output", folder, "--resume")
    assert (code, err) == (0, "")
    assert "1 cells, 1 of them done before" in out
    cell = "digits-macs=0.5-knapsack-s0"
    assert logged(folder / "mlflow.db") == {"rank-search/small": [(cell, "FINISHED"), ("small", "FINISHED")]}
    assert {"plan.json", "model.safetensors", "report.html", "accuracy_against_cost_digits.png"} <= {*artifacts(folder)}
    assert f"report:  {folder / 'report.html'}" in out.splitlines()
    assert call("report", folder)[0] == 0
    assert os.listdir(tmp_path / "runs") == [folder.name]
    kept = {"cells", "config.yaml", "mlartifacts", "mlflow.db", "results.csv", "run.json", "tasks"}
    assert {*os.listdir(folder)} == {*kept, "plots", "report.html"}


def test_a_second_bench_or_resume_or_search_in_the_folder_is_refused_and_changes_nothing(
    call: Call, one_cell: Callable[..., Path], tmp_path: Path
) -> None:
    path = one_cell(run={"tracking": "none"})
    refused: list[tuple[int, str, str]] = []

    class Rival(Observer):
        def begin(self, *_: object) -> None:
            before = sorted(tmp_path.rglob("*"))
            for options in ([], ["--resume"]):
                refused.append(call("bench", path, "--in-process", "--output", tmp_path / "run", *options))
            refused.append(call("search", path, "--output", tmp_path / "run"))
            assert sorted(tmp_path.rglob("*")) == before

    bench(load_config(path), tmp_path / "run", in_process=True, observer=Rival())
    assert len(refused) == 3
    for code, _, err in refused:
        assert code == 2
        assert f"is being written to by process {os.getpid()} on " in err
        assert err.count("\n") == 1
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done"]


def test_a_bench_that_cannot_start_leaves_no_lock_and_no_folder(one_cell: Callable[..., Path], tmp_path: Path) -> None:
    config = load_config(one_cell(budgets=[{"macs": 0.0001}], run={"tracking": "none"}))
    with pytest.raises(Exception, match="smallest reachable"):
        bench(config, tmp_path / "runs" / "x", in_process=True)
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
    with pytest.raises(RunError, match="there is no run to resume"):
        bench(config, tmp_path / "runs" / "x", resume=True, in_process=True)
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_search_holds_its_folder_from_the_start_and_follows_a_link(
    one_cell: Callable[..., Path], tmp_path: Path
) -> None:
    config, folder = load_config(one_cell()), tmp_path / "net"
    with only_writer(folder), pytest.raises(RunError, match="is being written to"):
        run_single(config, None, "knapsack", "macs=0.5", 0, folder)
    (tmp_path / "real").mkdir()
    folder.symlink_to(tmp_path / "real")
    run_single(config, None, "knapsack", "macs=0.5", 0, folder)
    written = {
        "config.yaml",
        "dense.safetensors",
        "plan.json",
        "model.safetensors",
        "result.json",
        "stages.json",
        "steps.csv",
    }
    assert {path.name for path in folder.iterdir()} == written
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml", "net", "real"}
    with pytest.raises(RunError, match="is not empty"):
        run_single(config, None, "knapsack", "macs=0.5", 0, folder)


def test_a_long_name_is_cut_on_disk_and_whole_in_the_results(
    call: Call, one_cell: Callable[..., Path], tmp_path: Path
) -> None:
    task = "t" * 250
    digits = {**SMALL["tasks"]["digits"], "finetune": {"epochs": 0}}
    path = one_cell(tasks={task: digits}, run={"tracking": "none"})
    code, _, err = call("bench", path, "--in-process", "--output", tmp_path / "run")
    assert (code, err) == (0, "")
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        assert [row["cell"] for row in csv.DictReader(file)] == [f"{task}-macs=0.5-knapsack-s0"]
    (folder,) = (tmp_path / "run" / "cells").iterdir()
    assert len(folder.name) <= 255
    assert (folder / "result.json").exists()
    assert len(list((tmp_path / "run" / "plots").iterdir())) == 5
