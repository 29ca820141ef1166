"""What a point or a cell of a figure says when somebody points at it; pictures without a pointer leave it out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Transform

SPARSE = 48  # marks of one line; more would hide each other


@dataclass(frozen=True)
class Mark:
    """A place of a figure with its words.

    Attributes:
        transform: from the place to pixels, once the figure is drawn.
        x, y: the middle, in the transform's units.
        width, height: of a box around it, in the same units; 0 for a point.
        text: what it says.
    """

    transform: Transform
    x: float
    y: float
    width: float
    height: float
    text: str


_marks: WeakKeyDictionary[Figure, list[Mark]] = WeakKeyDictionary()


def put_points(
    axes: Axes, x: Iterable[float], y: Iterable[float], texts: Iterable[str], transform: Transform | None = None
) -> None:
    """Lets points speak; those that are nowhere (NaN) are left out.

    Args:
        axes: that they are drawn in.
        x, y: where, as many as texts.
        texts: what they say.
        transform: that they are drawn with, if not that of the data.
    """
    found = _of(axes)
    for across, up, text in zip(x, y, texts, strict=True):
        if np.isfinite([across, up]).all():
            found.append(Mark(transform or axes.transData, float(across), float(up), 0.0, 0.0, text))


def put_box(axes: Axes, x: float, y: float, width: float, height: float, text: str) -> None:
    """Lets a cell or a bar speak: its middle and its size, in data units."""
    _of(axes).append(Mark(axes.transData, x, y, width, height, text))


def marks_of(figure: Figure) -> tuple[Mark, ...]:
    """All that was put into a figure, in that order."""
    return tuple(_marks.get(figure, ()))


def sparse(count: int, most: int = SPARSE) -> list[int]:
    """Positions of at most ``most`` of ``count`` points, evenly spread, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def _of(axes: Axes) -> list[Mark]:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return _marks.setdefault(figure, [])
