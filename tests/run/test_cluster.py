"""Three nodes on one machine that do not see the driver's folder: work spreads, a node is lost, and nothing changes.

Real processes, one cluster for the whole file; its nodes run with a hook that hides the folder (``hidden/``).
"""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_bench import SMALL

COMMAND = [sys.executable, "-c", "from rank_search.cli import main; main()"]
PATIENCE = 900
TIMES = ("latency_ms", "dense_latency_ms", "search_seconds", "search_cpu_seconds", "finetune_seconds")

SEARCHER = '''
"""A random search that says where it runs; it needs a module beside it."""
import os, time
import numpy as np
import helper_of_spread
import rank_search as rs

class Spread(rs.AskTellSearcher):
    def __init__(self, task, *, seed, log, pause=0.0):
        super().__init__(task, seed=seed)
        self.log, self.pause = log, pause
    def ask(self, pending):
        import ray
        time.sleep(self.pause)
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "driver"
        with open(self.log, "a") as file:
            file.write(node + "\\n")
        return self.unseen(np.random.default_rng([self.seed, len(self.trials), helper_of_spread.SALT]), pending)
    def tell(self, trial):
        pass
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver's machine: the config, the user's modules, and the run folders; no node sees it."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "spread.py").write_text(SEARCHER)
    (folder / "helper_of_spread.py").write_text("SALT = 7\n")
    return folder


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "nodes.txt"


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    hidden = {"PYTHONPATH": str(Path(__file__).parent / "hidden"), "HIDDEN_FOLDER": str(place)}
    found.workers = [found.add_node(num_cpus=1, env_vars=hidden) for _ in range(3)]
    yield found
    found.shutdown()


@pytest.fixture
def config(place: Path, log: Path) -> Callable[..., Path]:
    """Writes the config of six cells, with keys of ``run`` replaced."""

    def write(**run: Any) -> Path:
        arm = {"name": "spread:Spread", "options": {"log": str(log), "pause": 0.2}, "parallel": 2}
        changed = {
            "searchers": [arm, "knapsack"],
            "budgets": [{"macs": 0.5}],
            "seeds": [0, 1, 2],
            "limits": {"evaluations": 24},
            "run": {"workers": 3, "threads": 1, "tracking": "none", **run},
        }
        path = place / "config.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changed}))
        return path

    return write


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    return said


def bytes_of(folder: Path) -> dict[str, Any]:
    """All that a run found, but for times."""
    found: dict[str, Any] = {}
    for cell in sorted((folder / "cells").iterdir()):
        row = json.loads((cell / "result.json").read_text())
        with (cell / "steps.csv").open(newline="") as file:
            steps = [{key: value for key, value in step.items() if key != "seconds"} for step in csv.DictReader(file)]
        weights = (cell / "model.safetensors").read_bytes()
        found[cell.name] = [
            {key: value for key, value in row.items() if key not in TIMES},
            steps,
            (cell / "plan.json").read_text(),
            weights,
        ]
    return found


@pytest.fixture(scope="module")
def reference(place: Path) -> dict[str, Path]:
    return {}


@pytest.fixture
def undisturbed(place: Path, config: Callable[..., Path], reference: dict[str, Path]) -> dict[str, Any]:
    """What the bench finds in one process."""
    if not reference:
        finish(start(place, "bench", str(config()), "--output", str(place / "reference"), "--in-process"))
        reference["path"] = place / "reference"
    return bytes_of(reference["path"])


def test_a_node_that_is_killed_changes_nothing_and_is_one_line(
    cluster: Any, place: Path, config: Callable[..., Path], log: Path, undisturbed: dict[str, Any]
) -> None:
    log.unlink(missing_ok=True)
    folder = place / "killed"
    process = start(place, "bench", str(config()), "--output", str(folder), "--ray-address", cluster.address)
    deadline = time.monotonic() + PATIENCE
    while len([*folder.glob("cells/*/search.safetensors")]) < 3:  # a checkpoint of each has come back
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint came back"
        time.sleep(0.05)
    assert not [*folder.glob("cells/*/result.json")], "the kill came too late to test anything"
    cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
    said = finish(process)
    assert bytes_of(folder) == undisturbed
    nodes = {*log.read_text().split()}
    assert len(nodes) == 3, "the work did not spread over the nodes"
    lost = [line for line in said.splitlines() if "lost" in line]
    assert len(lost) == 1, said
    assert "goes on elsewhere" in lost[0] or "go on elsewhere" in lost[0]
    assert "Traceback" not in said
    assert "raylet" not in said


def test_results_may_come_back_over_a_storage(
    cluster: Any, place: Path, config: Callable[..., Path], tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    storage = tmp_path / "bucket"
    path = config(storage=f"file://{storage}", workers="auto")
    folder = place / "stored"
    finish(start(place, "bench", str(path), "--output", str(folder), "--ray-address", cluster.address))
    assert bytes_of(folder) == undisturbed
    assert not [*storage.rglob("*.safetensors")]  # it is a relay, not an archive


def test_one_search_on_a_cluster_finds_the_bytes_of_one_process(
    cluster: Any, place: Path, config: Callable[..., Path]
) -> None:
    common = ["search", str(config()), "--searcher", "random", "--budget", "macs=0.5", "--parallel", "4"]
    alone, together = place / "alone", place / "together"
    finish(start(place, *common, "--output", str(alone)))
    finish(start(place, *common, "--output", str(together), "--workers", "2", "--ray-address", cluster.address))
    for name in ("plan.json", "model.safetensors"):
        assert (alone / name).read_bytes() == (together / name).read_bytes()
    assert {path.name for path in together.iterdir()} == {path.name for path in alone.iterdir()}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["run.cpus=2"], "needs 2 CPU"),
        (["run.storage=file:///proc/nowhere"], "run.storage"),
    ],
)
def test_what_the_cluster_lacks_is_one_line(
    cluster: Any, place: Path, config: Callable[..., Path], settings: list[str], said: str
) -> None:
    folder = place / "refused"
    options = [word for setting in settings for word in ("--set", setting)]
    process = start(place, "bench", str(config()), "--output", str(folder), "--ray-address", cluster.address, *options)
    lines = finish(process, 2).strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert said in lines[-1]
    assert not any("Traceback" in line for line in lines)
    assert not folder.exists()


def test_a_node_without_the_package_is_one_line(
    cluster: Any, place: Path, config: Callable[..., Path], tmp_path: Path
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text(
        "import sys\nclass No:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'rank_search': raise ModuleNotFoundError(\"No module named 'rank_search'\")\n"
        "sys.meta_path.insert(0, No())\n"
    )
    node = cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(without)})
    try:
        said = finish(
            start(place, "bench", str(config()), "--output", str(place / "no"), "--ray-address", cluster.address), 2
        )
    finally:
        cluster.remove_node(node)
    assert said.strip().splitlines()[-1].startswith("error: the node ")
    assert "cannot import rank-search" in said
    assert "Traceback" not in said


def test_an_address_without_a_ray_is_one_line(place: Path, config: Callable[..., Path]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        for address in (f"127.0.0.1:{port}", "nowhere", "ray://127.0.0.1:10001"):
            words = ["bench", str(config()), "--output", str(place / "nobody"), "--ray-address", address]
            lines = finish(start(place, *words), 2).strip().splitlines()
            assert lines[-1].startswith("error: ")
            assert address in lines[-1]
            assert not (place / "nobody").exists()


def test_sigterm_ends_a_search_that_goes_on_with_resume(place: Path, config: Callable[..., Path]) -> None:
    arm = ["search", str(config()), "--searcher", "Spread", "--budget", "macs=0.5"]
    whole, stopped = place / "whole", place / "stopped"
    finish(start(place, *arm, "--output", str(whole)))
    process = start(place, *arm, "--output", str(stopped))
    deadline = time.monotonic() + PATIENCE
    while not [*stopped.glob(".unfinished/cells/*/search.safetensors")]:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = finish(process, 143)
    assert "--resume" in said
    assert "Traceback" not in said
    assert "interrupted" in finish(start(place, *arm, "--output", str(stopped)), 2)
    finish(start(place, *arm, "--output", str(stopped), "--resume"))
    for name in ("plan.json", "model.safetensors"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes()
    assert {path.name for path in stopped.iterdir()} == {path.name for path in whole.iterdir()}


def test_sigterm_ends_a_bench_on_a_cluster_that_goes_on_with_resume(
    cluster: Any, place: Path, config: Callable[..., Path], undisturbed: dict[str, Any]
) -> None:
    folder = place / "terminated"
    words = ["bench", str(config()), "--output", str(folder), "--ray-address", cluster.address]
    process = start(place, *words)
    deadline = time.monotonic() + PATIENCE
    while not [*folder.glob("cells/*/search.safetensors")]:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = finish(process, 143)
    assert "--resume" in said
    assert "SIGTERM received" not in said  # Ray's own, with stacks
    assert "Traceback" not in said
    finish(start(place, *words, "--resume"))
    assert bytes_of(folder) == undisturbed
