"""Draws and writes all figures of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rank_search.files import write_atomically
from rank_search.records.schema import PLOTS
from rank_search.report.figures.critical_difference import CriticalDifference
from rank_search.report.figures.incumbents import Incumbents
from rank_search.report.figures.measure_against_cost import MeasureAgainstCost
from rank_search.report.figures.probabilities import Probabilities
from rank_search.report.figures.rank_paths import RankPaths
from rank_search.report.figures.ranks import Ranks
from rank_search.report.render.png.critical_difference import draw_critical_difference
from rank_search.report.render.png.incumbents import draw_incumbents
from rank_search.report.render.png.measure_against_cost import draw_measure_against_cost
from rank_search.report.render.png.page import SCREEN, Page
from rank_search.report.render.png.palette import Look, looks
from rank_search.report.render.png.probabilities import draw_probabilities
from rank_search.report.render.png.rank_paths import draw_rank_paths
from rank_search.report.render.png.ranks import draw_ranks
from rank_search.report.sections import Figure as FigureValue
from rank_search.report.sections import Report, report_of

DOTS_PER_INCH = 150


def write_plots(folder: Path | str) -> list[Path]:
    """Writes the figures of a run into ``<folder>/plots/`` as PNG files; those of an earlier call are replaced.

    Args:
        folder: of the run. ``report_of`` says which figures it has, and under which names.

    Returns:
        The paths written, in the order of the report.

    Raises:
        RunError: if a file of the run folder is missing or malformed.
        StorageError: if a picture could not be written.
    """
    folder = Path(folder)
    return draw_all(report_of(folder), folder / PLOTS)


def draw_all(report: Report, folder: Path) -> list[Path]:
    """Writes all figures of a report into a folder, as ``write_plots`` does."""
    styles = looks(report.searchers)
    return [_write(draw(named.figure, styles), folder / f"{named.stem}.png") for named in report.all_figures]


def draw(value: FigureValue, styles: Mapping[str, Look], page: Page = SCREEN) -> Figure:
    """Draws a figure of any kind.

    Args:
        value: the figure.
        styles: a look for every searcher of the run.
        page: what it is for.
    """
    match value:
        case MeasureAgainstCost():
            return draw_measure_against_cost(value, styles, page)
        case Incumbents():
            return draw_incumbents(value, styles, page)
        case Ranks():
            return draw_ranks(value, page)
        case RankPaths():
            return draw_rank_paths(value, page)
        case Probabilities():
            return draw_probabilities(value, page)
        case CriticalDifference():
            return draw_critical_difference(value, styles, page)


def _write(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH))
    return path
