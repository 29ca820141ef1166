"""The top floor: who won, as a table and as pictures, read from a finished run folder."""

from rank_search.records.read_run import read_results
from rank_search.report.render.plots import write_plots
from rank_search.report.render.terminal_table import render
from rank_search.report.tables.leaderboard import leaderboard

__all__ = ["leaderboard", "read_results", "render", "write_plots"]
