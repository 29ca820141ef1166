"""Regret of methods on recorded tasks: many searches, each of which costs look-ups."""

from rank_search.run.regret.config import RegretConfig, is_regret, load_regret_config
from rank_search.run.regret.run import run_regret

__all__ = ["RegretConfig", "is_regret", "load_regret_config", "run_regret"]
