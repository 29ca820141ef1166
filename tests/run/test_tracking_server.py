"""Benches against a real MLflow server, which is read over HTTP alone: all that is logged, and outages."""

from __future__ import annotations

import csv
import logging
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import DEADLINE, Server
from small_bench import SMALL

from rank_search.run import tracking
from rank_search.run.bench import bench
from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.observer import Observer

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CELL = "digits-macs=0.5-{}-s{}"


@pytest.fixture(scope="module")
def kept_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(kept_server: Server) -> Server:
    """It runs, whatever a test before did to it."""
    return kept_server.start()


def config(server: Server, name: str, searchers: list[str], seeds: int = 1) -> Config:
    few = {"budgets": [{"macs": 0.5}], "searchers": searchers, "seeds": [*range(seeds)], "limits": {"evaluations": 4}}
    return Config.model_validate({**SMALL, **few, "name": name, "run": {**SMALL["run"], "tracking": server.uri}})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "rank_search"]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


class Script(Observer):
    """Does something when so many cells have ended, or begun."""

    def __init__(
        self, ended: Mapping[int, Callable[[], object]] = {}, begun: Mapping[int, Callable[[], object]] = {}
    ) -> None:
        self._ended, self._begun = ended, begun
        self.cells: list[str] = []
        self.ends: list[float] = []

    def progress(self, cell: Cell, evaluations: int, incumbent: float | None) -> None:
        if cell.id not in self.cells:
            self.cells.append(cell.id)
            self._begun.get(len(self.cells), lambda: None)()

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self._ended.get(len(self.ends) + 1, lambda: None)()
        self.ends.append(time.monotonic())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_logged(server: Server, name: str, folder: Path, cells: int) -> None:
    """Everything in the run folder is in MLflow, read over HTTP."""
    runs = server.runs(f"rank-search/{name}")
    parent = runs.pop(name)
    assert {parent["status"], *(run["status"] for run in runs.values())} == {"FINISHED"}
    assert "mlflow.parentRunId" not in parent["tags"]
    assert server.files(parent["id"]) == {"config.yaml", "results.csv"}
    for file in ("config.yaml", "results.csv"):
        assert server.file(parent["id"], file) == (folder / file).read_bytes()
    results = {row["cell"]: row for row in rows(folder / "results.csv")}
    assert len(results) == cells
    assert set(runs) == set(results)
    for cell, run in runs.items():
        row, place = results[cell], folder / "cells" / cell
        assert run["tags"]["mlflow.parentRunId"] == parent["id"]
        assert run["tags"]["rank_search.cell"] == cell
        assert run["tags"]["rank_search.run"] == parent["tags"]["rank_search.run"]
        assert run["tags"]["status"] == row["status"] == "done"
        told = {"task": row["task"], "budget": row["budget"], "searcher": row["searcher"], "seed": row["seed"]}
        assert run["params"] == told
        for column in ("val_accuracy", "kept_macs", "evaluations", "latency_ms"):
            assert run["metrics"][column] == float(row[column])
        steps = rows(place / "steps.csv")
        expected = [(int(step["step"]), float(step["score"])) for step in steps]
        assert server.history(run["id"], "search/score") == expected
        assert {"plan.json", "steps.csv", "result.json", "model.safetensors"} <= server.files(run["id"])
        for file in ("plan.json", "steps.csv", "model.safetensors"):
            assert server.file(run["id"], file) == (place / file).read_bytes()


def seen(server: Server, name: str, profile: Path) -> str:
    """The page of an experiment, as a browser has drawn it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: the page was not looked at")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={profile}", "--window-size=1600,1200"]
    flags += ["--proxy-server=direct://", "--virtual-time-budget=60000", "--dump-dom"]
    url = f"{server.uri}/#/experiments/{server.experiment(f'rank-search/{name}')}/runs"
    return subprocess.run(
        [browser, *flags, url], capture_output=True, text=True, timeout=DEADLINE, check=False, errors="replace"
    ).stdout


@pytest.fixture(scope="module")
def logged(kept_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench whose runs are all there."""
    folder = tmp_path_factory.mktemp("logged") / "run"
    bench(config(kept_server.start(), "all-there", ["random", "tpe"], seeds=2), folder, in_process=True)
    return folder


def test_all_that_is_in_the_run_folder_is_on_the_server(logged: Path, kept_server: Server) -> None:
    check_logged(kept_server, "all-there", logged, cells=4)


def test_the_page_of_the_experiment_shows_the_run(logged: Path, kept_server: Server, tmp_path: Path) -> None:
    page = seen(kept_server, "all-there", tmp_path / "profile")
    assert "rank-search/all-there" in page
    assert ">all-there<" in page


def test_mlflow_prints_nothing_of_its_own_and_a_resume_logs_nothing_twice(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    asked = config(server, "quiet", ["random"], seeds=2)
    folder = bench(asked, tmp_path / "run", in_process=True)
    bench(asked, folder, resume=True, in_process=True)
    check_logged(server, "quiet", folder, cells=2)
    assert capfd.readouterr() == ("", "")
    assert warnings(caplog) == []


def test_a_server_that_is_killed_and_comes_back_has_every_cell_when_the_bench_ends(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def statuses() -> list[str]:
        return [run["status"] for run in server.runs("rank-search/back").values()]

    def is_caught_up() -> None:
        """Before the last cell: those that ended meanwhile are there, without waiting for the end of the bench."""
        until(lambda: statuses().count("FINISHED") == 4)

    script = Script(ended={1: server.kill, 3: server.start}, begun={5: is_caught_up})
    folder = bench(config(server, "back", ["random"], seeds=5), tmp_path / "run", in_process=True, observer=script)
    check_logged(server, "back", folder, cells=5)
    refused, back = warnings(caplog)
    assert refused.startswith(f"MLflow at {server.uri} refused: ")
    assert "asked again while the run lasts" in refused
    assert back == f"MLflow at {server.uri} answers again."


def test_a_server_that_comes_back_at_the_very_end_has_every_cell_too(server: Server, tmp_path: Path) -> None:
    script = Script(ended={1: server.kill, 3: lambda: server.start(wait=False)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "GRACE", DEADLINE)  # a server needs its time to start
        folder = bench(config(server, "late", ["random"], seeds=3), tmp_path / "run", in_process=True, observer=script)
    check_logged(server, "late", folder, cells=3)


def test_a_server_that_never_comes_back_costs_the_grace_at_the_end_and_no_result(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "GRACE", 3.0)
    script = Script(ended={1: server.kill})
    asked = config(server, "gone", ["random"], seeds=4)
    folder = bench(asked, tmp_path / "run", in_process=True, observer=script)
    assert time.monotonic() - script.ends[-1] < 3 + 15
    assert {row["status"] for row in rows(folder / "results.csv")} == {"done"}
    assert len(rows(folder / "results.csv")) == 4
    refused, left = warnings(caplog)
    assert refused.startswith(f"MLflow at {server.uri} refused: ")
    assert f"{folder}; it is asked again while the run lasts, and --resume logs them again." in refused
    assert left.startswith(f"MLflow at {server.uri}: ")
    assert left.endswith(f" of 4 cells not logged; --resume does it, from the files in {folder}.")
    assert "\n" not in refused + left

    server.start()
    bench(asked, folder, resume=True, in_process=True)
    check_logged(server, "gone", folder, cells=4)


@pytest.mark.parametrize("answers", [True, False])
def test_an_interruption_is_quick_and_leaves_no_run_that_seems_to_run(
    answers: bool, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pressed: list[float] = []
    name = f"interrupted-{answers}"

    def press() -> None:
        if answers:
            until(lambda: len(server.runs(f"rank-search/{name}")) == 3)
        else:
            server.kill()
        pressed.append(time.monotonic())
        raise KeyboardInterrupt

    asked = config(server, name, ["random"], seeds=3)
    with pytest.raises(KeyboardInterrupt):
        bench(asked, tmp_path / "run", in_process=True, observer=Script(begun={2: press}))
    assert time.monotonic() - pressed[0] < tracking.HASTE + 5
    if not answers:
        assert len(warnings(caplog)) == 2
        return
    found = {name: run["status"] for name, run in server.runs(f"rank-search/{name}").items()}
    assert found == {name: "KILLED", CELL.format("random", 0): "FINISHED", CELL.format("random", 1): "KILLED"}
    assert not warnings(caplog)
    bench(asked, tmp_path / "run", resume=True, in_process=True)
    check_logged(server, name, tmp_path / "run", cells=3)


def test_a_callback_never_waits_for_a_server_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The calls of Tune's event loop, with a client that takes for ever."""
    from tracked_run import Run

    caplog.set_level(logging.ERROR)
    run = Run(tmp_path / "run", "http://127.0.0.1:9", seeds=3)
    monkeypatch.setattr(tracking, "open_client", lambda uri: time.sleep(10**6))
    monkeypatch.setattr(tracking, "START_SECONDS", 0.1)
    watching = tracking.MlflowTracking(run.config, run.folder, "http://127.0.0.1:9")
    watching.begin(run.cells, [])
    rows = [run.end_cell(cell) for cell in run.cells]
    began = time.monotonic()
    for _ in range(100):
        for cell, row in zip(run.cells, rows, strict=True):
            watching.progress(cell, 1, 0.5)
            watching.finish(cell, row)
    assert time.monotonic() - began < 5
    assert len(watching._queue) <= len(run.cells) + 2
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "HASTE", 0.5)
        watching.end(False)
    assert time.monotonic() - began < 60
