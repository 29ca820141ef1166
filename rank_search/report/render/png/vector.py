"""A drawn figure as SVG text, the same for the same figure, with the places that speak."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from rank_search.report.render.png.hover import Mark, marks_of

POINTS_PER_INCH = 72
METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Spot:
    """A place that speaks: middle and size in the units of the picture (points, y downwards; size 0 for a point)."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Vector:
    """A figure as SVG text, its width and height in points, and its spots."""

    svg: str
    width: float
    height: float
    spots: tuple[Spot, ...]


def vector(figure: Figure) -> Vector:
    """Draws a figure without a background, its title and its note, which stand in the text around it.

    Args:
        figure: as ``draw`` returns it; it cannot be used for a picture with a title afterwards.
    """
    said = {figure.get_suptitle(), figure.get_supxlabel()}
    for text in figure.texts:
        if text.get_text() in said:
            text.set_visible(False)
            text.set_in_layout(False)
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    figure.set_dpi(POINTS_PER_INCH)
    FigureCanvasSVG(figure)
    written = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rank-search", "svg.image_inline": True}):
        figure.savefig(written, format="svg", dpi=POINTS_PER_INCH, metadata=METADATA)
    width, height = (float(inches) * POINTS_PER_INCH for inches in figure.get_size_inches())
    return Vector(written.getvalue(), width, height, tuple(_spot(mark, height) for mark in marks_of(figure)))


def _spot(mark: Mark, height: float) -> Spot:
    corners = np.array(
        [[mark.x + sign * mark.width / 2, mark.y + sign * mark.height / 2] for sign in (-1, 1)], dtype=float
    )
    (left, low), (right, high) = mark.transform.transform(corners)
    return Spot(
        x=float(left + right) / 2,
        y=height - float(low + high) / 2,
        width=abs(float(right - left)),
        height=abs(float(high - low)),
        text=mark.text,
    )
