"""The frame that the line plots share: size, grid, axes, title, legend beside and note below."""

from __future__ import annotations

import textwrap
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rank_search.report.render.png.page import SCREEN, Page

Side = Literal["outside right upper", "outside right center"]

GRID_COLOR = "#DDDDDD"
NOTE_COLOR = "#555555"
ENTRY_INCHES, AROUND_ENTRIES = 0.21, 5  # height of an entry of the legend; of title and note, in entries
TITLE_INCHES, NOTE_INCHES = 0.1, 0.07  # width of a character
LEGEND_ROW_INCHES, LEGEND_CHARACTER_INCHES, LEGEND_HANDLE_INCHES = 0.15, 0.055, 0.4  # in a paper


def line_frame(title: str, *, x: str, y: str, page: Page = SCREEN) -> tuple[Figure, Axes]:
    """An empty plot with a title and the two axis labels; nothing global is touched."""
    figure = Figure(figsize=(page.width, page.height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color=GRID_COLOR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    put_title(figure, title, page)
    return figure, axes


def put_legend(
    figure: Figure, *, title: str | None = None, side: Side = "outside right upper", page: Page = SCREEN
) -> None:
    """Adds the legend outside of the axes, where it covers nothing; none if nothing has a label.

    A figure that is too low for all entries becomes higher; in a paper it is below, and the figure is that much higher.
    """
    entries = [axes.get_legend_handles_labels() for axes in figure.axes]
    labels = [label for _, names in entries for label in names]
    if not labels:
        return
    if page.words:
        figure.set_figheight(max(figure.get_figheight(), ENTRY_INCHES * (len(labels) + AROUND_ENTRIES)))
        figure.legend(loc=side, title=title, frameon=False)
        return
    width = figure.get_figwidth()
    entry = LEGEND_HANDLE_INCHES + LEGEND_CHARACTER_INCHES * max(map(len, labels))
    columns = max(1, min(len(labels), int(width / entry)))
    rows = -(-len(labels) // columns)
    figure.set_size_inches(width, figure.get_figheight() + LEGEND_ROW_INCHES * rows)
    figure.legend(
        loc="outside lower center",
        title=title,
        frameon=False,
        ncols=columns,
        handlelength=2.4,
        columnspacing=1.0,
    )


def put_title(figure: Figure, title: str, page: Page = SCREEN) -> None:
    """Adds a title above all, broken into lines that fit the figure."""
    if page.words:
        text = textwrap.fill(title, int(figure.get_figwidth() / TITLE_INCHES))
        figure.suptitle(text, x=0.01, ha="left", parse_math=False)


def put_note(figure: Figure, *sentences: str, page: Page = SCREEN) -> None:
    """Adds a note below all: each sentence on lines of its own that fit the figure."""
    if page.words:
        width = int(figure.get_figwidth() / NOTE_INCHES)
        text = "\n".join(textwrap.fill(sentence, width) for sentence in sentences)
        figure.supxlabel(text, x=0.01, ha="left", fontsize="small", color=NOTE_COLOR, parse_math=False)
