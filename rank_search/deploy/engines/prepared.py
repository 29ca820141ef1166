"""Engines of strangers, asked so that what they do wrong is said of them."""

from __future__ import annotations

import math

import torch
from torch import nn

from rank_search.deploy.engines.engine import Engine, Runner
from rank_search.errors import EngineError, RankSearchError, told
from rank_search.nests import Nest


def prepared(engine: Engine, model: nn.Module, inputs: Nest) -> Runner:
    """:meth:`Engine.prepare`, and what it raises as one readable error.

    Raises:
        EngineError: if it raises, or returns no :class:`Runner`.
    """
    try:
        runner = engine.prepare(model, inputs)
    except (RankSearchError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise EngineError(f"the engine {engine.name} cannot run {type(model).__name__}: {told(error)}") from error
    return _checked(engine, runner)


def prepared_chain(engine: Engine, modules: nn.Sequential, inputs: torch.Tensor) -> Runner:
    """The same of :meth:`Engine.prepare_chain`.

    Raises:
        EngineError
    """
    try:
        runner = engine.prepare_chain(modules, inputs)
    except (RankSearchError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise EngineError(f"the engine {engine.name} cannot run layers in a row: {told(error)}") from error
    return _checked(engine, runner)


def seconds_of(runner: Runner, calls: int) -> float:
    """:meth:`Runner.seconds`, a positive number.

    Raises:
        EngineError: if it raises, or tells another time.
    """
    try:
        found = runner.seconds(calls)
    except (RankSearchError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise EngineError(f"{type(runner).__name__} cannot be timed: {told(error)}") from error
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or not 0 < found < 1e6:
        raise EngineError(f"{type(runner).__name__} tells {found!r} seconds for {calls} runs: that is no time")
    return float(found)


def _checked(engine: Engine, runner: object) -> Runner:
    if not isinstance(runner, Runner):
        raise EngineError(f"the engine {engine.name} made a {type(runner).__name__}, not a Runner")
    return runner
