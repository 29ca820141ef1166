"""A Tuner of your own with a searcher of rank-search: here CMA-ES on a recorded task, so that trials are look-ups.

    python examples/ray_tune_own_tuner.py

Half a minute on two cores, most of it Ray's start. A killed run goes on with ``tune.Tuner.restore(folder, trainable)``.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0")  # quiet

import ray
from ray import tune

import rank_search as rs


def trial(config: dict[str, Any], task: rs.Task) -> None:
    """Your training: here a look-up of what the plan's network is worth."""
    plan = rs.RankPlan.from_json(config["plan"])
    tune.report({"loss": task.evaluate(plan).score})


def main() -> None:
    task = rs.load_recorded("digits", rs.Budget(macs=0.3))
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_parameters(trial, task=task),
            tune_config=tune.TuneConfig(
                search_alg=rs.TuneSearcher("cmaes", task, metric="loss", mode="min"),
                num_samples=12,
                max_concurrent_trials=2,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        best = results.get_best_result("loss", "min")
    ray.shutdown()
    assert best.config is not None
    assert best.metrics is not None
    cost = task.admit(rs.RankPlan.from_json(best.config["plan"]))["macs"] / task.space.dense_cost["macs"]
    print(
        f"cmaes in a Tuner: {len(results)} plans, the best of loss {best.metrics['loss']:.4f} at {cost:.1%} of the MACs"
    )


if __name__ == "__main__":
    main()
