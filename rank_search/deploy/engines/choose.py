"""Engines by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rank_search.deploy.engines.engine import Engine
from rank_search.errors import InvalidInputError, PluginError, RankSearchError
from rank_search.plugins import Registry, check_names

engines: Registry[Engine] = Registry("rank_search.engines", "engine", lambda: Engine)

EngineSpec = str | Engine | Mapping[str, Mapping[str, Any] | None]
"""A registered name or ``module:Class``, ``{name: {option: value}}``, or an engine."""


def make_engine(spec: EngineSpec = "eager") -> Engine:
    """The engine that was asked for.

    Raises:
        UnknownNameError, PluginError: if there is no such engine, or it cannot be made.
        InvalidInputError: for options that it does not have.
        EngineError: if what it needs is not installed.
    """
    if isinstance(spec, Engine):
        return spec
    if isinstance(spec, Mapping):
        if len(spec) != 1:
            raise InvalidInputError(f"the engine {dict(spec)!r} is no {{NAME: {{OPTION: VALUE}}}}")
        ((name, options),) = spec.items()
    else:
        name, options = spec, None
    if not isinstance(name, str) or not isinstance(options, Mapping | None):
        raise InvalidInputError(f"{spec!r} is no engine: give its name, {{NAME: {{OPTION: VALUE}}}} or an Engine")
    cls = engines.get(name)
    if not isinstance(getattr(cls, "name", None), str):
        raise PluginError(f"the engine {name!r} has no name: give its class the attribute name")
    check_names(cls, options or {}, f"the engine {name!r}", InvalidInputError)
    try:
        return cls(**(options or {}))
    except RankSearchError:
        raise
    except Exception as error:
        raise PluginError(f"the engine {name!r} cannot be made: {type(error).__name__}: {error}") from error
