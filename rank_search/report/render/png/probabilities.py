"""Draws probabilities of ranks as heat maps of rank against rounds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

from rank_search.report.figures.probabilities import FloatArray, LayerProbabilities, Probabilities
from rank_search.report.render.png.hover import put_points, sparse
from rank_search.report.render.png.line_frame import NOTE_COLOR, put_note, put_title
from rank_search.report.render.png.page import SCREEN, Page
from rank_search.report.render.png.palette import COLORS
from rank_search.report.render.png.panel_grid import (
    TICK_SIZE,
    TITLE_PAD,
    TITLE_SIZE,
    panel_grid,
    shade_dense,
    shortened,
    tick_ranks,
    title_panel,
)

SHADES = LinearSegmentedColormap.from_list(
    "probability", ("#FFFFFF", "#D0E1F2", "#94C4DF", "#4A98C9", "#1764AB", "#08306B")
)
SCALE = PowerNorm(0.5, 0.0, 1.0)  # one of a hundred equal ranks is seen too
SCALE_TICKS = (0.0, 0.05, 0.2, 0.5, 1.0)
MARK_COLOR = COLORS[1]
DENSE_VEIL = 34 / 255  # of black, makes white as grey as dense layers are elsewhere
ROWS_SEEN = 90  # of a taller image, single rows would be lost
DETAIL_SIZE, DETAIL_INCHES = 7.0, 0.13
COLORBAR_INCHES = 3.0


def draw_probabilities(value: Probabilities, page: Page = SCREEN) -> Figure:
    """Draws a panel per layer and mode: the colour is the probability, the mark the most probable rank of a round.

    A round that was not recorded looks like the one before it. Where ranks are too many for one to be seen, each is
    drawn taller, over less probable ones only.

    Args:
        value: the figure.
        page: what it is for.
    """
    sizes = [len(layer.modes) for layer in value.layers.values()]
    grid = panel_grid(sizes, x=value.x_label, line_inches=DETAIL_INCHES)
    figure = grid.figure
    first = min(int(layer.rounds[0]) for layer in value.layers.values())
    last = max(int(layer.rounds[-1]) for layer in value.layers.values())
    for panels, (name, layer) in zip(grid.groups, value.layers.items(), strict=True):
        form = layer.form if len(layer.forms) > 1 else ""
        for axes, mode in zip(panels, layer.modes, strict=True):
            _draw(axes, layer, mode)
            _let_speak(axes, layer, name, mode)
            axes.set_xlim(first - 0.5, last + 0.5)
            tick_ranks(axes, len(layer.modes[mode]) - 1)
            title_panel(axes, shortened(name, grid.width, f", {mode}"), pad=TITLE_PAD + 72 * DETAIL_INCHES)
            _put_detail(axes, form, f"entropy {layer.entropy:.2f}" if axes is panels[0] else "")
    _put_scale(figure, value.share_label)
    figure.supylabel(value.y_label, fontsize="medium")
    put_title(figure, value.title, page)
    put_note(figure, *value.notes, page=page)
    return figure


def _put_scale(figure: Figure, label: str) -> None:
    bar = figure.colorbar(
        ScalarMappable(SCALE, SHADES),
        ax=figure.axes,
        ticks=SCALE_TICKS,
        format="{x:g}",
        pad=0.015,
        aspect=20,
        anchor=(0.0, 1.0),
        shrink=min(1.0, COLORBAR_INCHES / figure.get_figheight()),
    )
    bar.ax.tick_params(labelsize=TICK_SIZE)
    bar.set_label(label, fontsize=TITLE_SIZE)


def _draw(axes: Axes, layer: LayerProbabilities, mode: str) -> None:
    probabilities = layer.modes[mode]
    full = len(probabilities) - 1
    start, stop = layer.rounds[0], layer.rounds[-1] + 1
    held = np.searchsorted(layer.rounds, np.arange(start, stop), side="right") - 1
    axes.imshow(
        _visible(probabilities)[:, held],
        cmap=SHADES,
        norm=SCALE,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(start - 0.5, stop - 0.5, -0.5, full + 0.5),
    )
    edges = np.append(layer.rounds, stop) - 0.5
    shade_dense(axes, edges.tolist(), layer.dense, color="black", alpha=DENSE_VEIL)
    axes.plot(
        layer.rounds,
        layer.most_probable(mode),
        color=MARK_COLOR,
        linewidth=0.7,
        marker="o",
        markersize=2.2,
        markeredgewidth=0,
    )


def _let_speak(axes: Axes, layer: LayerProbabilities, name: str, mode: str) -> None:
    best = layer.most_probable(mode)
    shown = [place for place in sparse(len(best)) if np.isfinite(best[place])]
    texts = [
        f"{name}, {mode}, round {layer.rounds[n]}: rank {best[n]:g}, p = {layer.modes[mode][int(best[n]), n]:.2f}"
        for n in shown
    ]
    put_points(axes, layer.rounds[shown], best[shown], texts)


def _visible(probabilities: FloatArray) -> FloatArray:
    """The same image; of a tall one each pixel is the highest of its surroundings in the column, so none is lost."""
    reach = (len(probabilities) - 1) // ROWS_SEEN
    around = np.pad(probabilities, ((reach, reach), (0, 0)))
    return np.asarray(sliding_window_view(around, 2 * reach + 1, axis=0).max(axis=-1))


def _put_detail(axes: Axes, *texts: str) -> None:
    """Adds small text between a panel and its title."""
    axes.annotate(
        ", ".join(filter(None, texts)),
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, TITLE_PAD),
        textcoords="offset points",
        fontsize=DETAIL_SIZE,
        color=NOTE_COLOR,
        parse_math=False,
    )
