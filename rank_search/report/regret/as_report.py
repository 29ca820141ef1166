"""A benchmark of regret as a report like any other, so that every format has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rank_search.recorded import Recording, read_recording
from rank_search.records.schema import RANKED_AT
from rank_search.report.about import Said, about_runs, names_of
from rank_search.report.figures.critical_difference import critical_difference_figure
from rank_search.report.regret.ranking import ranking
from rank_search.report.regret.read import PREFIX, counts, read_regret
from rank_search.report.regret.sections import regret_report
from rank_search.report.sections import NamedFigure, Report, Section

SECTION = "recorded tasks"


def regret_report_of(folder: Path | str) -> Report:
    """Reads the folder of a benchmark of regret.

    Raises:
        RunError: if a file is missing or malformed.
    """
    folder = Path(folder)
    frame = read_regret(folder)
    recordings = {name: read_recording(name) for name in dict.fromkeys(map(str, frame["task"]))}
    return as_report(frame, recordings, names_of([folder])[0], about_runs([folder]))


def as_report(frame: pd.DataFrame, recordings: Mapping[str, Recording], title: str, about: Said = ()) -> Report:
    """The tables and words of a benchmark in one section, and its critical differences.

    Args:
        frame: as ``read_regret`` gives it.
        recordings: those that it ran on, by task.
        title: of the report.
        about: what else is said of the run.
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
        sections=(Section(SECTION, found.tables, figures, found.words),),
        searchers=names,
        legend=found.legend,
        failures=found.failures,
        summary=found.words,
        title=title,
        about=about,
    )
