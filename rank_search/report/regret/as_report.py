"""A benchmark of regret as a report like any other, so that every format has it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from rank_search.recorded import Recording
from rank_search.records.schema import RANKED_AT
from rank_search.report.figures.critical_difference import critical_difference_figure
from rank_search.report.regret.ranking import ranking
from rank_search.report.regret.read import PREFIX, counts
from rank_search.report.regret.sections import regret_report
from rank_search.report.sections import NamedFigure, Report, Section


def as_report(frame: pd.DataFrame, recordings: Mapping[str, Recording], title: str) -> Report:
    """The tables and words of a benchmark in one section, and its critical differences.

    Args:
        frame: as ``read_regret`` gives it.
        recordings: those that it ran on, by task.
        title: of the report and its section.
    """
    found = regret_report(frame, recordings)
    taken = counts(frame)
    at = max((count for count in taken if count <= RANKED_AT), default=taken[0])
    ranks = ranking(frame, f"{PREFIX}{at}")
    names = tuple(sorted(set(map(str, frame["searcher"]))))
    left_out = [name for name in names if ranks is None or name not in ranks.ranks]
    figure = critical_difference_figure(ranks, f"regret after the work of {at} evaluations", left_out)
    figures = () if figure is None else (NamedFigure("critical_difference", figure),)
    return Report(
        sections=(Section(title, found.tables, figures, found.words),),
        searchers=names,
        legend=(),
        failures=found.failures,
        summary=found.words,
        title=title,
    )
