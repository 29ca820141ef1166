"""The grid that the pictures with a panel per layer share: its size, the places, the axes and the titles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

ROOM_INCHES, LEAST_PANEL_INCHES, HEIGHT_SHARE = 7.0, 1.9, 0.62
MARGIN_INCHES = (1.0, 1.1)  # beside and below the panels
TITLE_SIZE, TICK_SIZE, TITLE_PAD, CHARACTER_INCHES = 8.5, 7.5, 4.0, 0.075


@dataclass(frozen=True)
class PanelGrid:
    """A figure and its panels.

    Attributes:
        figure: with nothing but the panels.
        groups: per group its panels, from the left.
        width: of a panel with its labels, in inches.
    """

    figure: Figure
    groups: list[list[Axes]]
    width: float


def panel_grid(groups: Sequence[int], *, x: str, line_inches: float = 0.0) -> PanelGrid:
    """Empty panels, row by row; those of one group stay side by side. The lowest of every column names the x axis.

    Args:
        groups: the number of panels of each group, at least 1.
        x: the label of the x axes, which count something.
        line_inches: height of the lines that will be added to the titles.
    """
    columns = _columns(groups)
    places = _places(groups, columns)
    rows = places[-1][0] + 1
    width = max(LEAST_PANEL_INCHES, ROOM_INCHES / columns)
    height = width * HEIGHT_SHARE + line_inches
    figure = Figure(
        figsize=(columns * width + MARGIN_INCHES[0], rows * height + MARGIN_INCHES[1]), layout="constrained"
    )
    lowest = {column: row for row, first, size in places for column in range(first, first + size)}
    panels = []
    for row, first, size in places:
        panels.append([figure.add_subplot(rows, columns, row * columns + first + 1 + place) for place in range(size)])
        for column, axes in enumerate(panels[-1], first):
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=TICK_SIZE, labelbottom=row == lowest[column])
            axes.set_xlabel(x if row == lowest[column] else "", fontsize=TITLE_SIZE)
            axes.xaxis.set_in_layout(row == rows - 1)  # above an empty place, labels have room anyway
    return PanelGrid(figure, panels, width)


def tick_ranks(axes: Axes, full: int) -> None:
    """Marks zero, half and the full rank on the y axis."""
    axes.set_yticks(sorted({0, full // 2, full}))


def title_panel(axes: Axes, title: str, *, pad: float = TITLE_PAD) -> None:
    """Puts a title above the left end of a panel, ``pad`` points away from it."""
    axes.set_title(title, loc="left", fontsize=TITLE_SIZE, pad=pad, parse_math=False)


def shade_dense(axes: Axes, edges: Sequence[float], dense: Iterable[bool], **look: Any) -> None:
    """Shades a panel where a layer was dense, one span for neighbouring steps.

    Args:
        axes: the panel.
        edges: ``[n + 1]``, where each step starts and where the last one ends.
        dense: ``[n]``, whether the layer was dense in a step.
        look: of the spans.
    """
    for is_dense, run in groupby(enumerate(dense), key=lambda step: bool(step[1])):
        steps = [step for step, _ in run]
        if is_dense:
            axes.axvspan(edges[steps[0]], edges[steps[-1] + 1], linewidth=0, **look)


def shortened(layer: str, inches: float, ending: str = "") -> str:
    """The end of a layer's name that fits a panel of that width, after an ellipsis if something is missing.

    Args:
        layer: the name.
        inches: the width of the panel with its labels.
        ending: what follows the name, whole.
    """
    length = max(2, int(inches / CHARACTER_INCHES) - 3 - len(ending))
    return (layer if len(layer) <= length else f"…{layer[1 - length :].lstrip('.')}") + ending


def _columns(groups: Sequence[int]) -> int:
    """Of up to 3 panels one row; of up to 30 the 4 to 6 columns that leave the fewest places empty; of more 6 columns.

    A group may need more.
    """
    panels = sum(groups)
    if panels < 4:
        return panels
    allowed = [max(columns, *groups) for columns in ((6, 5, 4) if panels <= 30 else (6,))]
    return min(allowed, key=lambda columns: (_places(groups, columns)[-1][0] + 1) * columns)


def _places(groups: Sequence[int], columns: int) -> list[tuple[int, int, int]]:
    """Per group its row, its first column and its size."""
    places = []
    row = column = 0
    for size in groups:
        if column + size > columns:
            row, column = row + 1, 0
        places.append((row, column, size))
        column += size
    return places
