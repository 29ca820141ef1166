"""``kill -9`` of the driver at ten moments of one bench: what is there in the end is that of an undisturbed one."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from test_processes import finish, plans, rows, start

KILLS = 10
LONGEST = 9.0  # seconds; a quarter of the kills come in the first two: imports, preparing, MLflow's database


def killed_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether the process still ran when it was killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[0]
            return False
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return True


def test_ten_kills_at_random_moments_lose_nothing(small_config: Callable[..., Path], tmp_path: Path) -> None:
    config = small_config(searchers=["random", "tpe"], budgets=[{"macs": 0.5}], seeds=[0, 1])
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "run"
    finish(start(config, undisturbed, "--in-process"))
    rng = random.Random(0)
    tracked = ("--set", "run.tracking=null")
    kills = 0
    for number in range(KILLS):
        begun = ("--resume",) if (folder / "config.yaml").exists() else ()
        in_process = ("--in-process",) if number % 2 else ()
        seconds = rng.uniform(0.3, 2.0 if number % 4 == 0 else LONGEST)
        kills += killed_after(start(config, folder, *tracked, *begun, *in_process), seconds)
    assert kills >= 3, "the bench was too short to be killed"
    begun = ("--resume",) if (folder / "config.yaml").exists() else ()
    finish(start(config, folder, *tracked, *begun))
    assert rows(folder) == rows(undisturbed)
    assert plans(folder) == plans(undisturbed)
    for cell in folder.glob("cells/*"):
        assert not [*cell.glob("finetune*")]
        weights = "model.safetensors"
        assert (cell / weights).read_bytes() == (undisturbed / "cells" / cell.name / weights).read_bytes()

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments() if "small" in found.name]
    runs = client.search_runs(experiments, max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    cells = sorted(run.data.tags["rank_search.cell"] for run in runs if "mlflow.parentRunId" in run.data.tags)
    assert len(parents) == 1
    assert cells == sorted(row["cell"] for row in rows(folder))
    assert {run.info.status for run in runs} == {"FINISHED"}
