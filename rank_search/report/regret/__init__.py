"""What a benchmark of regret says: regrets with their intervals, ranks, proxies."""

from rank_search.report.regret.as_report import as_report, regret_report_of
from rank_search.report.regret.read import read_regret
from rank_search.report.regret.sections import regret_report

__all__ = ["as_report", "read_regret", "regret_report", "regret_report_of"]
