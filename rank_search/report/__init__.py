"""The top floor: who won, as a table and as pictures, read from a finished run folder."""

from rank_search.report.leaderboard import leaderboard
from rank_search.report.plots import write_plots
from rank_search.report.read_run import read_results
from rank_search.report.terminal_table import render

__all__ = ["leaderboard", "read_results", "render", "write_plots"]
