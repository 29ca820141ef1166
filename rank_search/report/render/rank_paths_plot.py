"""How a search that learns ranks while it trains gets to them: the rank of every layer against epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rank_search.report.render.line_frame import GRID_COLOR, put_legend, put_note, put_title
from rank_search.report.render.palette import COLORS
from rank_search.report.render.panel_grid import panel_grid, shade_dense, shortened, tick_ranks, title_panel
from rank_search.report.render.ranks_plot import DENSE_FILL

LINE_STYLES = ("-", (0, (2.5, 1.5)), ":", "-.")  # a later mode leaves gaps, so that an equal rank below it is seen
END_MARGIN = 0.04  # share of the epochs after the last step, where its ranks are still shown


@dataclass(frozen=True)
class RankPath:
    """The ranks of one layer after each of n recorded steps.

    Attributes:
        epochs: ``[n]``, of training done at each step.
        ranks: per mode ``[n]``, NaN where the layer had no such mode.
        dense: ``[n]``, whether the layer was left dense.
        full: the largest rank of the largest mode.
    """

    epochs: NDArray[np.float64]
    ranks: Mapping[str, NDArray[np.float64]]
    dense: NDArray[np.bool_]
    full: int


def rank_paths(trace: Iterable[Mapping[str, Any]]) -> dict[str, RankPath]:
    """The path of every layer whose ranks a trace tells, in the order of the trace.

    What else methods write into a trace is ignored: a line counts if it has an ``epoch`` and, under ``ranks``, per
    layer its ``form``, ``modes``, ``ranks`` and ``full`` ranks.

    Args:
        trace: the lines, as ``read_trace`` gives them.
    """
    steps: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for line in trace:
        if _has_ranks(line):
            for layer, entry in line["ranks"].items():
                steps.setdefault(layer, []).append((float(line["epoch"]), entry))
    return {layer: _path(of_layer) for layer, of_layer in steps.items()}


def rank_paths_figure(task: str, budget: str, searcher: str, seed: int, paths: Mapping[str, RankPath]) -> Figure:
    """Draws a panel per layer, a line per mode; the marker is where the search ended.

    Args:
        task: the name of the task.
        budget: the text of the budget.
        searcher: the name of the searcher.
        seed: of the search that is drawn.
        paths: per layer what ``rank_paths`` found, at least one.
    """
    grid = panel_grid([1] * len(paths), x="Epoch")
    figure = grid.figure
    modes = list(dict.fromkeys(mode for path in paths.values() for mode in path.ranks))
    last = max(float(path.epochs[-1]) for path in paths.values())
    unlabelled = set(modes)
    for (axes,), (layer, path) in zip(grid.groups, paths.items(), strict=True):
        for mode, ranks in path.ranks.items():
            number = modes.index(mode)
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
        axes.set_xlim(0.0, last * (1 + END_MARGIN) or 1.0)
        edges = [*path.epochs.tolist(), axes.get_xlim()[1]]
        shade_dense(axes, edges, path.dense, color=DENSE_FILL, zorder=0)
        axes.set_ylim(0.0, path.full)
        tick_ranks(axes, path.full)
        title_panel(axes, shortened(layer, grid.width))
        axes.grid(color=GRID_COLOR, linewidth=0.6)
        axes.set_axisbelow(True)
    figure.supylabel("Rank", fontsize="medium")
    put_title(figure, f"{task} at {budget}: ranks while training, {searcher} (seed {seed})")
    put_legend(figure, title="Mode", side="outside right center")
    if any(path.dense.any() for path in paths.values()):
        put_note(figure, "Grey: the layer was left dense.")
    return figure


def _has_ranks(line: Mapping[str, Any]) -> bool:
    epoch, layers = line.get("epoch"), line.get("ranks")
    timed = isinstance(epoch, int | float) and math.isfinite(epoch)
    return timed and isinstance(layers, Mapping) and all(map(_is_layer, layers.values()))


def _is_layer(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("form"), str):
        return False
    modes, ranks, full = (entry.get(key) for key in ("modes", "ranks", "full"))
    if not (isinstance(modes, list) and isinstance(ranks, list) and isinstance(full, list)):
        return False
    texts = all(isinstance(mode, str) for mode in modes)
    counts = all(isinstance(rank, int) and rank > 0 for rank in (*ranks, *full))
    return texts and counts and len(modes) == len(ranks) == len(full) > 0


def _path(steps: list[tuple[float, Mapping[str, Any]]]) -> RankPath:
    entries = [entry for _, entry in steps]
    by_mode = [dict(zip(entry["modes"], entry["ranks"], strict=True)) for entry in entries]
    modes = dict.fromkeys(mode for ranks in by_mode for mode in ranks)
    return RankPath(
        epochs=np.array([epoch for epoch, _ in steps]),
        ranks={mode: np.array([ranks.get(mode, np.nan) for ranks in by_mode], dtype=float) for mode in modes},
        dense=np.array([entry["form"] == "dense" for entry in entries]),
        full=max(max(entry["full"]) for entry in entries),
    )
