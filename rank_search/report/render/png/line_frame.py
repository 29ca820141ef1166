"""The frame that the line plots share: size, grid, axes, title, legend beside and note below."""

from __future__ import annotations

import textwrap
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Side = Literal["outside right upper", "outside right center"]

GRID_COLOR = "#DDDDDD"
NOTE_COLOR = "#555555"
ENTRY_INCHES, AROUND_ENTRIES = 0.21, 5  # height of an entry of the legend; of title and note, in entries
TITLE_INCHES, NOTE_INCHES = 0.1, 0.07  # width of a character


def line_frame(title: str, *, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty plot with a title and the two axis labels; nothing global is touched."""
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color=GRID_COLOR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    put_title(figure, title)
    return figure, axes


def put_legend(figure: Figure, *, title: str | None = None, side: Side = "outside right upper") -> None:
    """Adds the legend outside of the axes, where it covers nothing; none if nothing has a label.

    A figure that is too low for all entries becomes higher.
    """
    entries = sum(len(axes.get_legend_handles_labels()[0]) for axes in figure.axes)
    if entries:
        figure.set_figheight(max(figure.get_figheight(), ENTRY_INCHES * (entries + AROUND_ENTRIES)))
        figure.legend(loc=side, title=title, frameon=False)


def put_title(figure: Figure, title: str) -> None:
    """Adds a title above all, broken into lines that fit the figure."""
    text = textwrap.fill(title, int(figure.get_figwidth() / TITLE_INCHES))
    figure.suptitle(text, x=0.01, ha="left", parse_math=False)


def put_note(figure: Figure, *sentences: str) -> None:
    """Adds a note below all: each sentence on lines of its own that fit the figure."""
    width = int(figure.get_figwidth() / NOTE_INCHES)
    text = "\n".join(textwrap.fill(sentence, width) for sentence in sentences)
    figure.supxlabel(text, x=0.01, ha="left", fontsize="small", color=NOTE_COLOR, parse_math=False)
