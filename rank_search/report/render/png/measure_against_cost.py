"""Draws the main figure: the measure against the kept cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from rank_search.report.figures.measure_against_cost import Bounds, CostLine, MeasureAgainstCost
from rank_search.report.render.png.hover import put_points
from rank_search.report.render.png.line_frame import line_frame, put_legend, put_note
from rank_search.report.render.png.page import SCREEN, Page
from rank_search.report.render.png.palette import DENSE_COLOR, LINES, Look

SIDE_STEP, SIDE_SPREAD = 4.0, 32.0  # points between the error bars of two lines that meet one budget; at most in all
LEAST_SPAN = 10.0  # percentage points of kept MACs on the axis, so that a single budget is not blown up


def draw_measure_against_cost(value: MeasureAgainstCost, styles: Mapping[str, Look], page: Page = SCREEN) -> Figure:
    """Draws lines with error bars, hollow from the second kind of budget on; the dense net is a dashed line.

    Axes end where numbers can: an interval that goes beyond is cut there.

    Args:
        value: the figure.
        styles: a look for every searcher.
        page: what it is for.
    """
    figure, axes = line_frame(value.title, x=value.x_label, y=value.y_label, page=page)
    step = page.scale * min(SIDE_STEP, SIDE_SPREAD / max(1, len(value.lines)))
    cost = value.x_label.partition(" (")[0]
    for place, line in enumerate(value.lines):
        shift = step * (place - (len(value.lines) - 1) / 2)
        _draw(axes, line, styles[line.searcher], shift, page.scale, f"{cost[:1].lower()}{cost[1:]}")
    if value.dense is not None:
        axes.axhline(
            value.dense, color=DENSE_COLOR, linestyle="--", linewidth=1.2 * page.scale, label=value.dense_label
        )
    axes.margins(x=0.08, y=0.08)
    axes.autoscale_view()
    left, right = axes.get_xlim()
    widen = max(0.0, LEAST_SPAN - (right - left)) / 2
    axes.set_xlim(_within(left - widen, right + widen, value.x_bounds))
    axes.set_ylim(_within(*axes.get_ylim(), value.y_bounds))
    put_legend(figure, page=page)
    put_note(figure, *value.notes, page=page)
    return figure


def _within(low: float, high: float, bounds: Bounds) -> tuple[float, float]:
    """The ends of an axis, inside of what its numbers can be."""
    return max(low, bounds[0]), min(high, bounds[1])


def _draw(axes: Axes, line: CostLine, look: Look, shift: float, scale: float, cost: str) -> None:
    """Draws one line, ``shift`` points to the right."""
    half = np.nan_to_num(line.half_width, nan=0.0)
    shifted = axes.transData + ScaledTranslation(shift / 72, 0.0, axes.figure.dpi_scale_trans)
    drawn = axes.errorbar(
        line.cost,
        line.mean,
        yerr=half if np.isfinite(line.half_width).any() else None,
        color=look.color,
        marker=look.marker,
        markersize=6 * scale,
        markerfacecolor="white" if line.kind else look.color,
        linestyle=LINES[(LINES.index(look.line) + line.kind) % len(LINES)],
        linewidth=1.4 * scale,
        elinewidth=1.2 * scale,
        capsize=3 * scale,
        label=line.label,
        transform=shifted,
    )
    put_points(axes, line.cost, line.mean, map(partial(_says, line.label, cost), line.cost, line.mean, half), shifted)
    drawn.lines[0].set_clip_on(False)  # a point at 100 % is whole
    # A shifted line does not widen the axes by itself.
    axes.update_datalim(np.column_stack([np.tile(line.cost, 2), np.concatenate([line.mean - half, line.mean + half])]))


def _says(label: str, what: str, cost: float, mean: float, half: float) -> str:
    return f"{label}, {what} {cost:.4g} %: {mean:.4g}{f' ± {half:.2g}' if half else ''}"
