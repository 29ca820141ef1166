"""Recorded tables for other people's optimisers: an Optuna objective, a Syne Tune blackbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rank_search.errors import RecordingError
from rank_search.recorded.recorded_task import RecordedTask
from rank_search.recorded.recording import OPTION, Recording
from rank_search.space import RankPlan

if TYPE_CHECKING:
    import optuna

ELAPSED = "seconds"


def optuna_objective(task: RecordedTask) -> Callable[[optuna.Trial], float]:
    """An objective for ``study.optimize``: the validation loss of a plan, one categorical parameter per layer.

    A plan over the budget is pruned before it is looked up. Each trial gets the plan as its user attribute ``plan``
    (plain data, for ``RankPlan.from_json``) and its costs by metric.

    Args:
        task: from :func:`load_recorded`, under its budget.
    """
    import optuna

    names = [options.layer.name for options in task.space.layers]
    choices = [[options.choice(row) for row in range(len(options))] for options in task.space.layers]

    def objective(trial: optuna.Trial) -> float:
        picked = {
            name: {str(choice): choice for choice in offered}[
                trial.suggest_categorical(name, [str(choice) for choice in offered])
            ]
            for name, offered in zip(names, choices, strict=True)
        }
        plan = RankPlan(picked)
        trial.set_user_attr("plan", plan.to_dict())
        for metric, cost in task.space.cost(plan).items():
            trial.set_user_attr(metric, cost)
        limits = task.budget.limits(task.space.dense_cost)
        if any(task.space.cost(plan)[metric] > most for metric, most in limits.items()):
            raise optuna.TrialPruned(f"the plan is over the budget {task.budget}")
        return task.evaluate(plan).score

    return objective


def syne_tune_blackbox(recording: Recording) -> Any:
    """A ``BlackboxTabular`` of Syne Tune: a parameter per layer (the number of its option), one seed, one fidelity.

    Its objectives are the validation measures (``val_loss``, ...), the costs by metric and ``seconds``, which is the
    elapsed time of a simulated evaluation. Budgets are the user's: as a constraint on a cost.

    Args:
        recording: of every plan of its space.

    Raises:
        RecordingError: if plans are missing, or Syne Tune is not installed.
    """
    try:
        from syne_tune.blackbox_repository.blackbox_tabular import BlackboxTabular
        from syne_tune.config_space import choice, randint
    except ImportError as error:
        raise RecordingError(
            f"Syne Tune cannot be imported ({error}): pip install 'syne-tune[blackbox-repository]' huggingface_hub"
        ) from None
    if not recording.exhaustive:
        raise RecordingError(f"the recording {recording.name!r} does not hold every plan: a blackbox needs them all")
    layers = recording.manifest["layers"]
    columns = [f"{OPTION}{i}" for i in range(len(layers))]
    costs = list(recording.manifest["dense"]["cost"])
    objectives = [name for name in recording.plans.columns if name.startswith("val_")] + [*costs, ELAPSED]
    values = recording.plans[objectives].to_numpy(dtype=np.float64)
    return BlackboxTabular(
        hyperparameters=recording.plans[columns].astype(np.int64),
        configuration_space={
            column: choice(list(range(len(layer["options"])))) for column, layer in zip(columns, layers, strict=True)
        },
        fidelity_space={"epoch": randint(lower=1, upper=1)},
        objectives_evaluations=values[:, None, None, :],
        objectives_names=objectives,
    )
