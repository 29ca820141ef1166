"""How a search that learns ranks while it trains gets to them: the rank of every layer against epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rank_search.report.line_frame import GRID_COLOR, put_legend, put_note, put_title
from rank_search.report.palette import COLORS
from rank_search.report.ranks_plot import DENSE_FILL

LINE_STYLES = ("-", (0, (2.5, 1.5)), ":", "-.")  # a later mode leaves gaps, so that an equal rank below it is seen
ROOM_INCHES, LEAST_PANEL_INCHES, HEIGHT_SHARE = 7.0, 1.9, 0.62
MARGIN_INCHES = (1.0, 1.1)  # beside and below the panels
LAYER_SIZE, CHARACTER_INCHES = 8.5, 0.075
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
    columns = _columns(len(paths))
    rows = math.ceil(len(paths) / columns)
    width = max(LEAST_PANEL_INCHES, ROOM_INCHES / columns)
    size = (columns * width + MARGIN_INCHES[0], rows * width * HEIGHT_SHARE + MARGIN_INCHES[1])
    figure = Figure(figsize=size, layout="constrained")
    modes = list(dict.fromkeys(mode for path in paths.values() for mode in path.ranks))
    last = max(float(path.epochs[-1]) for path in paths.values())
    unlabelled = set(modes)
    for place, (layer, path) in enumerate(paths.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
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
        _shade(axes, path)
        _dress(axes, path.full, _shortened(layer, width), lowest=place + columns >= len(paths))
        axes.xaxis.set_in_layout(place // columns == rows - 1)  # above an empty place, labels have room anyway
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


def _columns(panels: int) -> int:
    """Of up to 3 panels one row; of more 4 to 6 columns, whichever leave the fewest places empty."""
    return panels if panels < 4 else min((6, 5, 4), key=lambda columns: -panels % columns)


def _shade(axes: Axes, path: RankPath) -> None:
    """Greys the epochs from each dense step to the next step that is not dense, or to the right edge."""
    starts = [*path.epochs, axes.get_xlim()[1]]
    for dense, run in groupby(range(len(path.dense)), key=lambda step: bool(path.dense[step])):
        steps = list(run)
        if dense:
            axes.axvspan(starts[steps[0]], starts[steps[-1] + 1], color=DENSE_FILL, linewidth=0, zorder=0)


def _dress(axes: Axes, full: int, title: str, *, lowest: bool) -> None:
    axes.set_ylim(0.0, full)
    axes.set_yticks(sorted({0, full // 2, full}))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(color=GRID_COLOR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7.5, labelbottom=lowest)
    axes.set_title(title, loc="left", fontsize=LAYER_SIZE, pad=4, parse_math=False)
    if lowest:
        axes.set_xlabel("Epoch", fontsize=LAYER_SIZE)


def _shortened(layer: str, inches: float) -> str:
    """The end of a layer's name that fits a panel of that width, after an ellipsis if something is missing."""
    length = int(inches / CHARACTER_INCHES) - 3
    return layer if len(layer) <= length else f"…{layer[1 - length :].lstrip('.')}"
