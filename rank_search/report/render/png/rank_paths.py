"""Draws the rank of every layer against epochs."""

from __future__ import annotations

from matplotlib.figure import Figure

from rank_search.report.figures.rank_paths import RankPaths
from rank_search.report.render.png.hover import put_points, sparse
from rank_search.report.render.png.line_frame import GRID_COLOR, put_legend, put_note, put_title
from rank_search.report.render.png.page import SCREEN, Page
from rank_search.report.render.png.palette import COLORS, DENSE_FILL
from rank_search.report.render.png.panel_grid import panel_grid, shade_dense, shortened, tick_ranks, title_panel

LINE_STYLES = ("-", (0, (2.5, 1.5)), ":", "-.")  # a later mode leaves gaps, so that an equal rank below it is seen
END_MARGIN = 0.04  # share of the epochs after the last step, where its ranks are still shown


def draw_rank_paths(value: RankPaths, page: Page = SCREEN) -> Figure:
    """Draws a panel per layer, a line per mode; the marker is where the search ended.

    Args:
        value: the figure.
        page: what it is for.
    """
    grid = panel_grid([1] * len(value.layers), x=value.x_label)
    figure = grid.figure
    last = max(float(path.epochs[-1]) for path in value.layers.values())
    unlabelled = set(value.modes)
    for (axes,), (layer, path) in zip(grid.groups, value.layers.items(), strict=True):
        for mode, ranks in path.ranks.items():
            number = value.modes.index(mode)
            axes.plot(
                path.epochs,
                ranks,
                color=COLORS[number % len(COLORS)],
                linestyle=LINE_STYLES[number % len(LINE_STYLES)],
                linewidth=1.4,
                drawstyle="steps-post",
                marker="o",
                markersize=3.5,
                markevery=[-1],
                clip_on=False,  # a line at the full rank is on the edge
                label=mode if mode in unlabelled else None,
            )
            unlabelled.discard(mode)
            shown = sparse(len(ranks))
            texts = [f"{layer}, {mode}, epoch {path.epochs[n]:.3g}: rank {ranks[n]:g}" for n in shown]
            put_points(axes, path.epochs[shown], ranks[shown], texts)
        axes.set_xlim(0.0, last * (1 + END_MARGIN) or 1.0)
        edges = [*path.epochs.tolist(), axes.get_xlim()[1]]
        shade_dense(axes, edges, path.dense, color=DENSE_FILL, zorder=0)
        axes.set_ylim(0.0, path.full)
        tick_ranks(axes, path.full)
        title_panel(axes, shortened(layer, grid.width))
        axes.grid(color=GRID_COLOR, linewidth=0.6)
        axes.set_axisbelow(True)
    figure.supylabel(value.y_label, fontsize="medium")
    put_title(figure, value.title, page)
    put_legend(figure, title=value.legend_title, side="outside right center")
    if value.notes:
        put_note(figure, *value.notes, page=page)
    return figure
