"""How a search that learns ranks while it trains gets to them: the rank of every layer against epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LayerPath:
    """The ranks of one layer after each of n recorded steps.

    Attributes:
        epochs: ``[n]``, of training done at each step.
        ranks: per mode ``[n]``, NaN where the layer had no such mode.
        dense: ``[n]``, whether the layer was left dense.
        full: the largest rank of the largest mode.
    """

    epochs: FloatArray
    ranks: Mapping[str, FloatArray]
    dense: NDArray[np.bool_]
    full: int


@dataclass(frozen=True)
class RankPaths:
    """The figure of one search, a panel per layer, a line per mode.

    Attributes:
        title: above all.
        x_label, y_label: of every panel.
        legend_title: of the modes.
        modes: of all layers, each once.
        layers: per layer its path, at least one.
        notes: sentences below.
    """

    title: str
    x_label: str
    y_label: str
    legend_title: str
    modes: tuple[str, ...]
    layers: Mapping[str, LayerPath]
    notes: tuple[str, ...]


def rank_paths(task: str, budget: str, searcher: str, seed: int, layers: Mapping[str, LayerPath]) -> RankPaths:
    """The figure of the paths that a trace tells.

    Args:
        task: its name.
        budget: its text.
        searcher: its name.
        seed: of the search.
        layers: what ``layer_paths`` found, at least one.
    """
    return RankPaths(
        title=f"{task} at {budget}: ranks while training, {searcher} (seed {seed})",
        x_label="Epoch",
        y_label="Rank",
        legend_title="Mode",
        modes=tuple(dict.fromkeys(mode for path in layers.values() for mode in path.ranks)),
        layers=layers,
        notes=("Grey: the layer was left dense.",) if any(path.dense.any() for path in layers.values()) else (),
    )


def layer_paths(trace: Iterable[Mapping[str, Any]]) -> dict[str, LayerPath]:
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


def _path(steps: list[tuple[float, Mapping[str, Any]]]) -> LayerPath:
    entries = [entry for _, entry in steps]
    by_mode = [dict(zip(entry["modes"], entry["ranks"], strict=True)) for entry in entries]
    modes = dict.fromkeys(mode for ranks in by_mode for mode in ranks)
    return LayerPath(
        epochs=np.array([epoch for epoch, _ in steps]),
        ranks={mode: np.array([ranks.get(mode, np.nan) for ranks in by_mode], dtype=float) for mode in modes},
        dense=np.array([entry["form"] == "dense" for entry in entries]),
        full=max(max(entry["full"]) for entry in entries),
    )
