"""A rank space as a search space of Ray Tune, and configurations of it as plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rank_search.errors import PlanError
from rank_search.space.budget import Budget
from rank_search.space.parameters import Parameter, parameters_of, vector_of
from rank_search.space.plan import RankPlan

if TYPE_CHECKING:
    from rank_search.space.space import RankSpace

RANKS, PLAN = "ranks", "plan"


def tune_space(space: RankSpace) -> dict[str, Any]:
    """``{"ranks": {LAYER: {"form": tune.choice(...), "0": tune.uniform(0, 1), ...}}}``, for ``Tuner(param_space=...)``.

    The only place below the run floor that imports Ray, and only when it is called.
    """
    from ray import tune

    return {
        RANKS: _nested(
            parameters_of(space.layers),
            lambda parameter: tune.uniform(0.0, 1.0) if parameter.forms is None else tune.choice(list(parameter.forms)),
        )
    }


def plan_of_config(space: RankSpace, config: Mapping[str, Any], budget: Budget) -> RankPlan:
    """The plan of a trial's configuration, within the budget.

    Args:
        config: with a ``plan`` as the searchers of this package put it there, or with the ``ranks`` of
            :func:`tune_space`, which are projected onto the budget.

    Raises:
        PlanError: if it has neither, or they are not of this space.
        OverBudgetError: if the plan costs more than the budget allows.
    """
    if config.get(PLAN) is not None:
        plan = RankPlan.from_json(config[PLAN])
        space.admit(plan, budget)
        return plan
    if not isinstance(config.get(RANKS), Mapping):
        raise PlanError(
            f"the configuration has neither {PLAN!r} nor {RANKS!r} ({', '.join(config) or 'it is empty'}): "
            "give Tuner(param_space=space.tune_space())"
        )
    flat = {
        f"{layer}/{key}": value
        for layer, values in config[RANKS].items()
        if isinstance(values, Mapping)
        for key, value in values.items()
    }
    return space.project(space.decode(vector_of(parameters_of(space.layers), flat)), budget)


def ranks_of(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by name as the ``ranks`` of a configuration."""
    return _nested(parameters, lambda parameter: values[parameter.name])


def _nested(parameters: Sequence[Parameter], value: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for parameter in parameters:
        found.setdefault(parameter.layer, {})[parameter.key] = value(parameter)
    return found
