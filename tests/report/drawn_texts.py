"""The texts of a drawn figure, and what they may not do: lie upon each other, or outside."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text


def tick_labels(axes: Axes) -> list[Text]:
    """Of the x axis, those that are shown."""
    inside = [tick for tick in axes.xaxis.get_major_ticks() if tick.get_loc() <= axes.get_xlim()[1]]
    return [tick.label1 for tick in inside if tick.label1.get_visible()]


def assert_apart(figure: Figure, shown: Iterable[Text]) -> None:
    """All texts are inside the figure, and none overlaps another."""
    boxes = [text.get_window_extent() for text in shown if text.get_text()]
    width, height = figure.get_size_inches() * figure.dpi
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert sum(one.overlaps(other) for one in boxes for other in boxes) == len(boxes)  # each only itself


def labels(figure: Figure) -> list[str]:
    """The texts of the legend."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def all_texts(figure: Figure) -> str:
    """All text of a figure that is not an axis tick."""
    shown = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return "\n".join(text.get_text() for text in shown)
