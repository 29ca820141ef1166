"""A process that runs a Tuner of its own, to be killed: ``python killed_tuner.py house|wrapped FOLDER NAME TRIALS``.

Each trial appends ``PLAN`` to ``FOLDER/begun`` when it starts and to ``FOLDER/done`` when it has reported. It prints
``fitted`` at the end.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0", TUNE_GLOBAL_CHECKPOINT_S="0")
sys.path.insert(0, str(Path(__file__).parent.parent))

import optuna
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from tiny_task import tiny_task

import rank_search as rs

SECONDS = 0.7  # of a trial


def trial(config: dict[str, Any], folder: str) -> None:
    plan = json.dumps(config["plan"], sort_keys=True)
    with open(f"{folder}/begun", "a") as begun:
        begun.write(plan + "\n")
    time.sleep(SECONDS)
    ranks = [rank for choice in config["plan"].values() if choice != "dense" for rank in choice["ranks"]]
    tune.report({"loss": float(sum(ranks))})
    with open(f"{folder}/done", "a") as done:
        done.write(plan + "\n")


def tuner_of(kind: str, folder: Path, name: str, trials: int) -> Any:
    trainable = tune.with_parameters(trial, folder=str(folder))
    trainable.__name__ = "trial"
    if (folder / name).exists():
        return tune.Tuner.restore(str(folder / name), trainable)
    task = tiny_task()
    if kind == "house":
        searcher, space = rs.TuneSearcher("evolution", task, population=4), {}
    else:
        searcher = rs.BudgetedSearch(OptunaSearch(seed=0), task.space, task.budget)
        space = task.space.tune_space()
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            search_alg=searcher,
            num_samples=trials,
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name=name, storage_path=str(folder), verbose=0),
    )


def main(kind: str, folder: str, name: str, trials: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    results = tuner_of(kind, Path(folder), name, int(trials)).fit()
    found = [[result.config["plan"], result.metrics["loss"]] for result in results]
    Path(folder, "found.json").write_text(json.dumps(found))
    ray.shutdown()
    print("fitted")


if __name__ == "__main__":
    main(*sys.argv[1:])
