"""A study of your own: Optuna's sampler names plans within the budget, none twice, beside whatever else it tunes.

    python examples/optuna_own_study.py

A few seconds on one core: evaluations are look-ups of a recorded task.
"""

from __future__ import annotations

import optuna

import rank_search as rs


def main() -> None:
    task = rs.load_recorded("digits", rs.Budget(macs=0.3))
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float:
        plan = task.space.suggest(trial, task.budget)
        return task.evaluate(plan).score  # or: train task.compress(plan) with trial.suggest_float("lr", ...)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=40, n_jobs=2)
    plans = {task.space.plan_of_trial(trial) for trial in study.trials}
    cost = task.admit(task.space.plan_of_trial(study.best_trial))["macs"] / task.space.dense_cost["macs"]
    print(f"tpe in a study: {len(plans)} plans, the best of loss {study.best_value:.4f} at {cost:.1%} of the MACs")


if __name__ == "__main__":
    main()
