"""The top floor: who won, read from a finished run folder, as values (a report) and as what people look at."""

from rank_search.records.results import read_results
from rank_search.report.render.html import html_page, write_html
from rank_search.report.render.png.write_plots import write_plots
from rank_search.report.render.terminal_table import render
from rank_search.report.sections import report_of
from rank_search.report.tables.leaderboard import leaderboard

__all__ = [
    "html_page",
    "leaderboard",
    "read_results",
    "render",
    "report_of",
    "write_html",
    "write_plots",
]
