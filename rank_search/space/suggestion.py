"""Plans for a trial of Optuna's that somebody else's study runs: within the budget, none twice."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from rank_search.errors import InfeasibleBudgetError, OperationError, PlanError
from rank_search.space.budget import Budget
from rank_search.space.parameters import parameters_of, vector_of
from rank_search.space.plan import RankPlan
from rank_search.space.unseen import nearest_unseen

if TYPE_CHECKING:
    from rank_search.space.space import RankSpace

PLAN = "plan"  # the user attribute of a trial that holds its plan
CONFLICTS = 50  # claims of one trial that may collide with another process's
PAUSE_SECONDS = 0.02
_claiming = threading.Lock()


def suggest(space: RankSpace, trial: Any, budget: Budget) -> RankPlan:
    """A plan for a trial, from the parameters ``LAYER/form`` and ``LAYER/0``, ``LAYER/1``, ... that it suggests.

    The point is projected onto the budget. If another trial of the study has that plan, whatever became of it, the
    nearest plan that none has is taken; the sampler is then told what that neighbour is worth. With one job the plan
    follows from the sampler's seed. The plan is kept as the trial's user attribute ``plan``; asked again, the same
    trial gets the same plan.

    Threads of a process take turns. Processes that share a storage write their claim before they read those of the
    others and give way where two are the same, so that no plan is taken twice if a trial's attributes are seen as soon
    as they are written: true of Optuna's RDB and journal storages on one database or file system.

    Args:
        trial: ``optuna.Trial``, or anything with its ``suggest_float``, ``suggest_categorical`` and user attributes.
        budget: hard.

    Raises:
        InfeasibleBudgetError: if no plan meets the budget, or all were suggested. In ``study.optimize`` the study
            then stops and the trial is pruned instead.
    """
    before = trial.user_attrs.get(PLAN)
    if before is not None:
        plan = RankPlan.from_json(before)
        space.admit(plan, budget)
        return plan
    parameters = parameters_of(space.layers)
    values = {
        parameter.name: trial.suggest_float(parameter.name, 0.0, 1.0)
        if parameter.forms is None
        else trial.suggest_categorical(parameter.name, list(parameter.forms))
        for parameter in parameters
    }
    plan = space.project(space.decode(vector_of(parameters, values)), budget)
    with _claiming:
        found = _claimed(space, trial, plan, budget)
    if found is None:
        _end(trial, f"every plan within the budget {budget} was suggested in this study: there is none left")
    return found


def plan_of_trial(space: RankSpace, trial: Any) -> RankPlan:
    """The plan that a trial was given, e.g. ``study.best_trial``.

    Raises:
        PlanError: if it was given none, or one of another space.
    """
    kept = trial.user_attrs.get(PLAN)
    if kept is None:
        raise PlanError(f"trial {trial.number} has no plan: its objective did not call space.suggest(trial, budget)")
    plan = RankPlan.from_json(kept)
    space.indices(plan)
    return plan


def _claimed(space: RankSpace, trial: Any, plan: RankPlan, budget: Budget) -> RankPlan | None:
    """The plan, or the nearest free one, claimed for the trial; None if none is free."""
    wait = random.Random(trial.number)
    for _ in range(CONFLICTS):
        free = plan
        taken = _taken(trial)
        if any(other == plan.to_dict() for other in taken):
            others = {RankPlan.from_json(other) for other in taken}
            nearest = nearest_unseen(space, plan, budget, others)
            if nearest is None:
                return None
            free = nearest
        trial.set_user_attr(PLAN, free.to_dict())
        if free.to_dict() not in _taken(trial):
            return free
        trial.set_user_attr(PLAN, None)
        time.sleep(wait.uniform(0, PAUSE_SECONDS))
    raise OperationError(
        f"trial {trial.number} got no plan: {CONFLICTS} times another process claimed the same one at the same moment"
    )


def _taken(trial: Any) -> list[Any]:
    """The plans of the other trials of the study, as plain data."""
    study = getattr(trial, "study", None)
    others = [] if study is None else study.get_trials(deepcopy=False)
    plans = (other.user_attrs.get(PLAN) for other in others if other.number != trial.number)
    return [plan for plan in plans if plan is not None]


def _end(trial: Any, why: str) -> NoReturn:
    """Stops the study that runs the trial, or raises where nothing runs it."""
    try:
        trial.study.stop()
    except (AttributeError, RuntimeError):
        raise InfeasibleBudgetError(why) from None
    import optuna

    raise optuna.TrialPruned(why)
