"""How a search that learns a probability for each rank makes up its mind: heat maps of rank against rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rank_search.report.render.line_frame import NOTE_COLOR, put_note, put_title
from rank_search.report.render.palette import COLORS
from rank_search.report.render.panel_grid import (
    TICK_SIZE,
    TITLE_PAD,
    TITLE_SIZE,
    panel_grid,
    shade_dense,
    shortened,
    tick_ranks,
    title_panel,
)

FloatArray = NDArray[np.float64]

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
ROUNDING = 1e-6  # a softmax may sum to a little more than 1


@dataclass(frozen=True)
class RankProbabilities:
    """The probabilities of one layer's ranks after each of n recorded rounds, in the form that ended with most.

    Attributes:
        rounds: ``[n]``, rising.
        form: the form with most mass in the last round.
        forms: all forms that the layer could take.
        modes: per mode of ``form`` ``[full + 1, n]``: row r is rank r, 0 where a rank was not listed.
        dense: ``[n]``, whether leaving the layer dense has more mass than any form, wherever mass not listed belongs.
        entropy: of the last round, divided by its largest possible value.
    """

    rounds: NDArray[np.int64]
    form: str
    forms: tuple[str, ...]
    modes: Mapping[str, FloatArray]
    dense: NDArray[np.bool_]
    entropy: float


def rank_probabilities(trace: Iterable[Mapping[str, Any]]) -> dict[str, RankProbabilities]:
    """The probabilities of every layer of which a trace tells them, in the order of the trace.

    What else methods write into a trace is ignored: a line counts if it has a ``round`` and, under ``probabilities``,
    per layer its ``entropy``, ``dense`` and ``forms``, each form with ``modes``, ``ranks``, ``p`` and ``full``. Of two
    lines of one round the later counts. A layer without any form has nothing to show and is left out.

    Args:
        trace: the lines, as ``read_trace`` gives them.
    """
    entries: dict[str, dict[int, Mapping[str, Any]]] = {}
    for line in trace:
        if _has_probabilities(line):
            for layer, entry in line["probabilities"].items():
                entries.setdefault(layer, {})[line["round"]] = entry
    found = {layer: dict(sorted(of_layer.items())) for layer, of_layer in entries.items()}
    return {layer: _probabilities(rounds) for layer, rounds in found.items() if list(rounds.values())[-1]["forms"]}


def probabilities_figure(
    task: str, budget: str, searcher: str, seed: int, layers: Mapping[str, RankProbabilities]
) -> Figure:
    """Draws a panel per layer and mode: the colour is the probability, the mark the most probable rank of a round.

    A round that was not recorded looks like the one before it. Where ranks are too many for one to be seen, each is
    drawn taller, over less probable ones only.

    Args:
        task: the name of the task.
        budget: the text of the budget.
        searcher: the name of the searcher.
        seed: of the search that is drawn.
        layers: what ``rank_probabilities`` found, at least one.
    """
    grid = panel_grid([len(layer.modes) for layer in layers.values()], x="Round", line_inches=DETAIL_INCHES)
    figure = grid.figure
    first = min(int(layer.rounds[0]) for layer in layers.values())
    last = max(int(layer.rounds[-1]) for layer in layers.values())
    for panels, (name, layer) in zip(grid.groups, layers.items(), strict=True):
        form = layer.form if len(layer.forms) > 1 else ""
        for axes, (mode, probabilities) in zip(panels, layer.modes.items(), strict=True):
            _draw(axes, layer, probabilities)
            axes.set_xlim(first - 0.5, last + 0.5)
            tick_ranks(axes, len(probabilities) - 1)
            title_panel(axes, shortened(name, grid.width, f", {mode}"), pad=TITLE_PAD + 72 * DETAIL_INCHES)
            _put_detail(axes, form, f"entropy {layer.entropy:.2f}" if axes is panels[0] else "")
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
    bar.set_label("Probability", fontsize=TITLE_SIZE)
    figure.supylabel("Rank", fontsize="medium")
    put_title(figure, f"{task} at {budget}: probabilities of ranks, {searcher} (seed {seed})")
    notes = [
        "Orange: the most probable rank of a round.",
        "Entropy: after the last round, over all options of the layer; 1 if all are equally probable.",
    ]
    if any(layer.dense.any() for layer in layers.values()):
        notes.append("Grey: leaving the layer dense has the most probability.")
    put_note(figure, *notes)
    return figure


def _draw(axes: Axes, layer: RankProbabilities, probabilities: FloatArray) -> None:
    full = len(probabilities) - 1
    start, stop = layer.rounds[0], layer.rounds[-1] + 1
    held = np.searchsorted(layer.rounds, np.arange(start, stop), side="right") - 1
    axes.imshow(
        _seen(probabilities)[:, held],
        cmap=SHADES,
        norm=SCALE,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(start - 0.5, stop - 0.5, -0.5, full + 0.5),
    )
    edges = np.append(layer.rounds, stop) - 0.5
    shade_dense(axes, edges.tolist(), layer.dense, color="black", alpha=DENSE_VEIL)
    best = np.where(layer.dense | ~probabilities.any(axis=0), np.nan, probabilities.argmax(axis=0))
    axes.plot(*(layer.rounds, best), color=MARK_COLOR, linewidth=0.7, marker="o", markersize=2.2, markeredgewidth=0)


def _seen(probabilities: FloatArray) -> FloatArray:
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


def _has_probabilities(line: Mapping[str, Any]) -> bool:
    layers = line.get("probabilities")
    return isinstance(line.get("round"), int) and isinstance(layers, Mapping) and all(map(_is_layer, layers.values()))


def _is_layer(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("forms"), Mapping):
        return False
    return all(_is_share(entry.get(key)) for key in ("entropy", "dense")) and all(
        map(_is_form, entry["forms"].values())
    )


def _is_form(form: Any) -> bool:
    if not isinstance(form, Mapping):
        return False
    modes, ranks, shares, full = (form.get(key) for key in ("modes", "ranks", "p", "full"))
    if not (
        isinstance(modes, list) and isinstance(ranks, list) and isinstance(shares, list) and isinstance(full, list)
    ):
        return False
    texts = all(isinstance(mode, str) for mode in modes)
    return (
        texts
        and len(set(modes)) == len(ranks) == len(shares) == len(full) > 0
        and all(map(_is_mode, ranks, shares, full))
    )


def _is_mode(ranks: Any, shares: Any, full: Any) -> bool:
    if not (isinstance(ranks, list) and isinstance(shares, list) and isinstance(full, int)):
        return False
    counts = all(isinstance(rank, int) and 0 < rank <= full for rank in ranks)
    return full > 0 and counts and len(ranks) == len(shares) and all(map(_is_share, shares))


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and -ROUNDING <= value <= 1 + ROUNDING  # not NaN


def _probabilities(rounds: Mapping[int, Mapping[str, Any]]) -> RankProbabilities:
    entries = list(rounds.values())
    ends = _masses(entries[-1])
    form = max(ends, key=lambda name: ends[name])
    return RankProbabilities(
        rounds=np.array(list(rounds)),
        form=form,
        forms=tuple(dict.fromkeys(name for entry in entries for name in entry["forms"])),
        modes={mode: _image(entries, form, mode) for mode in entries[-1]["forms"][form]["modes"]},
        dense=np.array([_is_dense(entry) for entry in entries]),
        entropy=float(entries[-1]["entropy"]),
    )


def _masses(entry: Mapping[str, Any]) -> dict[str, float]:
    """Per form the sum of its probabilities, in the mode of which most is listed."""
    return {name: max(map(sum, form["p"])) for name, form in entry["forms"].items()}


def _is_dense(entry: Mapping[str, Any]) -> bool:
    masses = _masses(entry).values()
    not_listed = max(0.0, 1.0 - entry["dense"] - sum(masses))
    return bool(entry["dense"] > max(masses, default=0.0) + not_listed)


def _image(entries: list[Mapping[str, Any]], form: str, mode: str) -> FloatArray:
    found = []
    for entry in entries:
        of_form = entry["forms"].get(form, {"modes": []})
        place = of_form["modes"].index(mode) if mode in of_form["modes"] else None
        found.append(None if place is None else tuple(of_form[key][place] for key in ("ranks", "p", "full")))
    image = np.zeros((max(listed[2] for listed in found if listed) + 1, len(entries)))
    for column, listed in enumerate(found):
        if listed:
            image[listed[0], column] = listed[1]
    return image
