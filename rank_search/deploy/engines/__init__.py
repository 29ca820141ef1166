"""Engines that people deploy with: each prepares, runs and times a network. Plug-ins: ``rank_search.engines``."""

from rank_search.deploy.engines.choose import EngineSpec, engines, make_engine
from rank_search.deploy.engines.engine import Engine, Runner
from rank_search.deploy.engines.timing import Timing, time_in_turn

__all__ = ["Engine", "EngineSpec", "Runner", "Timing", "engines", "make_engine", "time_in_turn"]
