"""Figures for a paper: of a column's width, without titles and notes, which are the caption's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rank_search.report.render.png.page import PAPER
from rank_search.report.render.png.palette import looks
from rank_search.report.render.png.write_plots import draw
from rank_search.report.sections import Report

DOTS_PER_INCH = 300
SETTINGS: dict[Any, Any] = {
    "font.size": PAPER.text,
    "axes.linewidth": 0.6,
    "axes.labelpad": 2.0,
    "axes.titlesize": PAPER.text,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType, embedded: type 3 is refused by many publishers
}


def write_pdf(report: Report, folder: Path) -> list[Path]:
    """Writes a ``.pdf`` per figure, with its fonts, and without a date: the same report gives the same file."""
    return _write(report, folder, "pdf")


def write_png(report: Report, folder: Path) -> list[Path]:
    """Writes a ``.png`` per figure, at 300 dots per inch."""
    return _write(report, folder, "png")


def _write(report: Report, folder: Path, ending: str) -> list[Path]:
    styles = looks(report.searchers)
    paths = []
    for named in report.all_figures:
        paths.append(folder / f"{named.stem}.{ending}")
        with matplotlib.rc_context(SETTINGS):
            _save(draw(named.figure, styles, PAPER), paths[-1], ending)
    return paths


def _save(figure: Figure, path: Path, ending: str) -> None:
    FigureCanvasAgg(figure)
    metadata = {"CreationDate": None} if ending == "pdf" else {}
    figure.savefig(path, format=ending, dpi=DOTS_PER_INCH, metadata=metadata)
