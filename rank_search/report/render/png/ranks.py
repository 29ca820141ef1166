"""Draws the form and the ranks of every layer as a heat map."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure

from rank_search.report.figures.ranks import Ranks
from rank_search.report.render.png.hover import put_box
from rank_search.report.render.png.line_frame import put_note, put_title
from rank_search.report.render.png.page import SCREEN, Page
from rank_search.report.render.png.palette import DENSE_FILL

BLUES = ("#F7FBFF", "#C6DBEF", "#6BAED6", "#4191C6")  # none so dark that black text could not be read
SHADES = LinearSegmentedColormap.from_list("ranks", BLUES)
ROW_INCHES, CHARACTER_INCHES = 0.3, 0.075
CENTERED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5, "parse_math": False}


def draw_ranks(value: Ranks, page: Page = SCREEN) -> Figure:
    """Draws a row per layer, a column per searcher; the text is the choice, the colour its share, grey a dense layer.

    Args:
        value: the figure.
        page: what it is for.
    """
    rows, columns = len(value.layers), len(value.columns)
    figure = Figure(figsize=_size(value), layout="constrained")
    axes = figure.add_subplot()
    for row, texts in enumerate(value.texts):
        for column, text in enumerate(texts):
            axes.text(column, row, text, **CENTERED)
            put_box(axes, column, row, 1.0, 1.0, _says(value, row, column))
    if rows:
        axes.imshow(_colours(value), aspect="auto", interpolation="nearest")
    axes.set_xticks(range(columns), labels=list(value.columns), parse_math=False)
    axes.set_yticks(range(rows), labels=list(value.layers), parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(1, columns) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, rows) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel(value.y_label, labelpad=8)
    put_title(figure, value.title, page)
    figure.colorbar(ScalarMappable(Normalize(0.0, 1.0), SHADES), ax=axes, label=value.share_label, aspect=30)
    put_note(figure, *value.notes, page=page)
    return figure


def _says(value: Ranks, row: int, column: int) -> str:
    share = value.shares[row, column]
    part = f" ({share:.0%} of the largest rank)" if np.isfinite(share) else ""
    searcher = value.columns[column].replace("\n", ", ")
    return f"{value.layers[row]}, {searcher}: {value.texts[row][column]}{part}"


def _size(value: Ranks) -> tuple[float, float]:
    titles = (line for title in value.columns for line in title.split("\n"))
    cells = (text for texts in value.texts for text in texts)
    column_inches = max(1.0, CHARACTER_INCHES * (max(map(len, [*titles, *cells]), default=0) + 2))
    names_inches = CHARACTER_INCHES * max(map(len, value.layers), default=0)
    width = max(6.8, column_inches * len(value.columns) + names_inches + 1.2)
    return width, max(3.2, ROW_INCHES * len(value.layers) + 1.5)


def _colours(value: Ranks) -> np.ndarray[Any, np.dtype[np.float64]]:
    """``[layers, columns, 4]``; what is absent stays white."""
    grid = np.ones((*value.shares.shape, 4))
    known = np.isfinite(value.shares)
    grid[known] = SHADES(value.shares[known])
    grid[value.dense] = to_rgba(DENSE_FILL)
    return grid
