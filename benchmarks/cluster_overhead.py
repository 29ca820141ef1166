"""What distribution costs: cells on Ray against one process, a search on two workers against one, a thousand cells.

    python benchmarks/cluster_overhead.py cells      # 40 cells of about 5 s on 2 workers: wall against the ideal
    python benchmarks/cluster_overhead.py search     # 64 evaluations of about 1 s on 1 and on 2 workers
    python benchmarks/cluster_overhead.py transport  # the same trivial evaluations by actors and by Ray Tune trials
    python benchmarks/cluster_overhead.py thousand   # 1,000 cells: memory of the driver, seconds per cell

Two idle cores; about 5, 4, 2 and 5 minutes. Everything is real work of the product.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rank_search as rs
from rank_search.run.bench import bench
from rank_search.run.cells import Cell
from rank_search.run.config import Config, RunConfig
from rank_search.run.observer import Observer
from rank_search.run.ray_start import connected
from rank_search.run.ray_workers import RayWorkers

CELLS = {
    "name": "overhead",
    "tasks": {
        "digits": {
            "model": {"name": "digits_net", "options": {"width": 16}, "train": {"epochs": 3, "lr": 0.1}},
            "data": {"name": "digits"},
            "finetune": {"epochs": 8},
        }
    },
    "budgets": [{"macs": 0.4}],
    "searchers": ["knapsack"],
    "run": {"workers": 2, "threads": 1, "tracking": "none"},
}


class Clock(Observer):
    """When the first cell began and every cell ended."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended: list[float] = []

    def progress(self, cell: Cell, evaluations: int, incumbent: float | None) -> None:
        self.began = self.began or time.perf_counter()

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self.ended.append(time.perf_counter())


def _bench(config: Mapping[str, Any], in_process: bool) -> tuple[float, int]:
    """Wall seconds from the first cell's begin to the last one's end, and how many are done."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        bench(Config.model_validate(config), Path(folder) / "run", in_process=in_process, observer=clock)
    assert clock.began is not None
    return clock.ended[-1] - clock.began, len(clock.ended)


def cells() -> None:
    alone, count = _bench({**CELLS, "seeds": list(range(40))}, in_process=True)
    together, _ = _bench({**CELLS, "seeds": list(range(40))}, in_process=False)
    _say(
        "cells", {"cell_seconds": alone / count, "wall": together, "ideal": alone / 2, "ratio": together / (alone / 2)}
    )


def _resnet_task(samples: int) -> rs.Task:
    """A ResNet-20 of random weights on digits enlarged to 32 x 32: the time does not depend on what it has learned."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.nn.functional.interpolate(torch.tensor(digits.images[:, None], dtype=torch.float32) / 16, (32, 32))
    inputs, targets = images.repeat(1, 3, 1, 1), torch.tensor(digits.target)
    torch.manual_seed(0)
    model = rs.load_model("cifar_resnet20").eval()
    train, validation = slice(0, 256), slice(256, 256 + samples)
    sets = [rs.TensorSet(inputs[part], targets[part]) for part in (train, validation)]
    data = rs.TensorData(*sets)
    space = rs.RankSpace.from_model(model, inputs[:1], ["tucker2"])
    space.relative_errors()
    return rs.Task(model, space, rs.Budget(macs=0.5), data, recalibration_samples=0)


def _searched(task: rs.Task, workers: int, evaluations: int) -> float:
    """Wall seconds of a search from its first evaluation on."""
    with RayWorkers(lambda: task, workers) as actors:
        rs.search(task, "random", limits=rs.Limits(evaluations=workers), parallel=workers, workers=actors)  # all are up
        started = time.perf_counter()
        rs.search(task, "random", limits=rs.Limits(evaluations=evaluations), seed=1, parallel=4, workers=actors)
        return time.perf_counter() - started


def search() -> None:
    torch.set_num_threads(1)
    task = _resnet_task(400)
    with connected(RunConfig(), 2):
        one, two = _searched(task, 1, 64), _searched(task, 2, 64)
    _say("search", {"evaluation_seconds": one / 64, "one": one, "two": two, "speed_up": one / two})


def transport() -> None:
    torch.set_num_threads(1)
    task, count = _resnet_task(8), 64
    with connected(RunConfig(), 2) as ray:
        actors = _searched(task, 2, count) / count
        started = time.perf_counter()
        for _ in range(8):
            task.evaluate(task.space.random_plan(np.random.default_rng(0), task.budget))
        work = (time.perf_counter() - started) / 8
        trials = _by_tune(ray, task, count) / count
    _say("transport", {"work": work, "actors": actors, "tune_trials": trials, "ratio": trials / actors})


def _by_tune(ray: Any, task: rs.Task, count: int) -> float:
    """The same evaluations as Ray Tune trials that share two actors."""
    from ray import tune

    from rank_search.run.ray_tune import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    rng = np.random.default_rng(1)
    plans = [task.space.random_plan(rng, task.budget).to_json() for _ in range(count)]

    def trial(settings: dict[str, Any], task: rs.Task) -> None:
        torch.set_num_threads(1)
        tune.report({"score": task.evaluate(rs.RankPlan.from_json(settings["plan"])).score})

    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_parameters(trial, task=task),
            param_space={"plan": tune.grid_search(plans)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=2),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        started = time.perf_counter()
        tuner.fit()
        return time.perf_counter() - started


def thousand() -> None:
    tasks = {"digits": {"recorded": "digits", "equal_training": False}}
    config = {**CELLS, "tasks": tasks, "searchers": ["uniform"], "seeds": list(range(1000))}
    wall, count = _bench(config, in_process=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _say("thousand", {"cells": count, "seconds_per_cell": wall / count, "driver_peak_mb": peak})


def _say(what: str, figures: Mapping[str, float]) -> None:
    print(json.dumps({what: {name: round(value, 4) for name, value in figures.items()}}))


def main(words: Sequence[str]) -> None:
    known = {"cells": cells, "search": search, "transport": transport, "thousand": thousand}
    for word in words or known:
        known[word]()


if __name__ == "__main__":
    main(sys.argv[1:])
