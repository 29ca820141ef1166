"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rank_search.errors import InvalidInputError, PluginError, RankSearchError
from rank_search.plugins import Registry, check_names
from rank_search.task.objectives.classification import Classification
from rank_search.task.objectives.objective import Objective

objectives: Registry[Objective] = Registry("rank_search.objectives", "objective", lambda: Objective)

ObjectiveSpec = str | Mapping[str, Mapping[str, Any] | None] | Objective
"""A registered name, ``module:Class``, ``{name: {option: value}}``, or an objective."""


def make_objective(spec: ObjectiveSpec | None) -> Objective:
    """The objective that was asked for; None is classification.

    Raises:
        UnknownNameError, PluginError: if there is no such objective, or it cannot be made.
        InvalidInputError: if it has no such option, or it is none.
    """
    if spec is None:
        return Classification()
    if isinstance(spec, Objective):
        return spec
    name, options = objective_spec(spec)
    cls = objectives.get(name)
    check_names(cls, options, f"the objective {name!r}", InvalidInputError)
    try:
        return cls(**options)
    except RankSearchError:
        raise
    except Exception as error:
        raise PluginError(f"the objective {name!r} cannot be made: {type(error).__name__}: {error}") from error


Kind = TypeVar("Kind", bound=type[Objective])


def register_objective(name: str) -> Callable[[Kind], Kind]:
    """Class decorator that registers an objective in this process.

    Raises:
        PluginError: if the name is taken.
    """

    def add(cls: Kind) -> Kind:
        objectives.register(name, cls)
        return cls

    return add


def objective_spec(spec: Any) -> tuple[str, dict[str, Any]]:
    """An objective's name and options.

    Raises:
        InvalidInputError: if the entry is neither a name nor ``{name: {option: value}}``.
    """
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((name, options),) = spec.items()
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, dict(options or {})
    raise InvalidInputError(f"the objective {spec!r} is neither a name nor {{NAME: {{OPTION: VALUE}}}}")
