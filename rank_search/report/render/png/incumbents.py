"""Draws how fast searches get better."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from rank_search.report.figures.incumbents import Answer, Curve, Incumbents
from rank_search.report.render.png.hover import put_points, sparse
from rank_search.report.render.png.line_frame import line_frame, put_legend, put_note
from rank_search.report.render.png.page import SCREEN, Page
from rank_search.report.render.png.palette import Look

BAND, CROWDED = 0.18, 0.9  # opacity of a band, and of all together


def draw_incumbents(value: Incumbents, styles: Mapping[str, Look], page: Page = SCREEN) -> Figure:
    """Draws the mean over seeds as a line and their range as a band; the marker is where the search ended.

    Args:
        value: the figure.
        styles: a look for every searcher.
        page: what it is for.
    """
    figure, axes = line_frame(value.title, x=value.x_label, y=value.y_label, page=page)
    band = min(BAND, CROWDED / max(1, len(value.curves)))
    for searcher, curve in value.curves.items():
        look = styles[searcher]
        axes.plot(
            curve.evaluations,
            curve.mean,
            color=look.color,
            linestyle=look.line,
            linewidth=1.8 * page.scale,
            drawstyle="steps-post",
            marker=look.marker,
            markersize=7 * page.scale,
            markevery=[-1],
            label=value.labels[searcher],
        )
        if curve.seeds > 1:
            axes.fill_between(
                curve.evaluations, curve.low, curve.high, step="post", color=look.color, alpha=band, linewidth=0
            )
        shown = sparse(len(curve.mean))
        texts = [_says(value.labels[searcher], curve, place) for place in shown]
        put_points(axes, curve.evaluations[shown], curve.mean[shown], texts)
    for searcher, answer in value.answers.items():
        _put_answer(axes, value, searcher, answer, styles[searcher], page)
    if value.logarithmic:
        axes.set_yscale("log")
    if value.message:
        axes.text(0.5, 0.5, value.message, transform=axes.transAxes, ha="center", va="center")
        axes.yaxis.set_major_locator(NullLocator())
    axes.set_xlim(left=0.0, right=None if value.curves else 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    put_legend(figure, page=page)
    put_note(figure, *value.notes, page=page)
    return figure


def _put_answer(axes: Axes, value: Incumbents, searcher: str, answer: Answer, look: Look, page: Page) -> None:
    """A hollow marker where the search ended; a dotted line across for a method without a curve."""
    alone = searcher not in value.curves
    if alone:
        axes.axhline(answer.mean, color=look.color, linestyle=":", linewidth=1.4 * page.scale)
    axes.plot(
        [answer.evaluations],
        [answer.mean],
        color=look.color,
        linestyle=":" if alone else "none",
        marker=look.marker,
        markersize=7 * page.scale,
        markerfacecolor="white",
        clip_on=False,
        zorder=4,
        label=value.labels[searcher] if alone else None,
    )
    spread = f" ({answer.low:.4g} to {answer.high:.4g})" if answer.high > answer.low else ""
    put_points(axes, [answer.evaluations], [answer.mean], [f"{searcher}, answer: {answer.mean:.4g}{spread}"])


def _says(label: str, curve: Curve, place: int) -> str:
    spread = f" ({curve.low[place]:.4g} to {curve.high[place]:.4g})" if curve.seeds > 1 else ""
    return f"{label}, {curve.evaluations[place]:g} evaluations: {curve.mean[place]:.4g}{spread}"
