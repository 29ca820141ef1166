"""What a benchmark of regret says: regrets with their intervals, ranks, proxies."""

from rank_search.report.regret.read import read_regret
from rank_search.report.regret.sections import regret_report

__all__ = ["read_regret", "regret_report"]
