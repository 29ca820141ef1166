"""A search algorithm of Ray Tune over ranks and a setting of your own, every plan within the budget.

    python examples/ray_tune_own_algorithm.py

Half a minute on two cores, most of it Ray's start.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0")  # quiet

import optuna
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

import rank_search as rs


def trial(config: dict[str, Any], task: rs.Task) -> None:
    """Your training: here a look-up, and a penalty that makes the smaller of two settings the better one."""
    plan = rs.RankPlan.from_json(config["plan"])
    tune.report({"loss": task.evaluate(plan).score + config["penalty"]})


def main() -> None:
    task = rs.load_recorded("digits", rs.Budget(macs=0.3))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_parameters(trial, task=task),
            param_space={**task.space.tune_space(), "penalty": tune.choice([0.0, 0.1])},
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                search_alg=rs.BudgetedSearch(OptunaSearch(seed=0), task.space, task.budget),
                num_samples=12,
                max_concurrent_trials=2,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        best = results.get_best_result()
        plans = [rs.RankPlan.from_json(result.config["plan"]) for result in results if result.config]
    ray.shutdown()
    assert best.metrics is not None
    inside = sum(task.space.cost(plan)["macs"] <= 0.3 * task.space.dense_cost["macs"] for plan in plans)
    print(
        f"OptunaSearch: {inside} of {len(plans)} plans within the budget, the best of loss {best.metrics['loss']:.4f}"
    )


if __name__ == "__main__":
    main()
