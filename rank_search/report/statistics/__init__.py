"""What the numbers of a report can carry: intervals, paired comparisons, ranks over blocks, hypervolumes."""

from rank_search.report.statistics.interval import CONFIDENCE, Interval, mean_interval

__all__ = ["CONFIDENCE", "Interval", "mean_interval"]
