"""How a search that learns a probability for each rank makes up its mind: rank against rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

ROUNDING = 1e-6  # a softmax may sum to a little more than 1


@dataclass(frozen=True)
class LayerProbabilities:
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

    def most_probable(self, mode: str) -> FloatArray:
        """``[n]``, the most probable rank of a mode; NaN where the layer was dense or no rank was listed."""
        listed = self.modes[mode]
        return np.where(self.dense | ~listed.any(axis=0), np.nan, listed.argmax(axis=0))


@dataclass(frozen=True)
class Probabilities:
    """The figure of one search, a panel per layer and mode.

    Attributes:
        title: above all.
        x_label, y_label: of every panel.
        share_label: what the colours are.
        layers: per layer its probabilities, at least one.
        notes: sentences below.
    """

    title: str
    x_label: str
    y_label: str
    share_label: str
    layers: Mapping[str, LayerProbabilities]
    notes: tuple[str, ...]


def probabilities(
    task: str, budget: str, searcher: str, seed: int, layers: Mapping[str, LayerProbabilities]
) -> Probabilities:
    """The figure of the probabilities that a trace tells.

    Args:
        task: its name.
        budget: its text.
        searcher: its name.
        seed: of the search.
        layers: what ``layer_probabilities`` found, at least one.
    """
    notes = [
        "Orange: the most probable rank of a round.",
        "Entropy: after the last round, over all options of the layer; 1 if all are equally probable.",
    ]
    if any(layer.dense.any() for layer in layers.values()):
        notes.append("Grey: leaving the layer dense has the most probability.")
    return Probabilities(
        title=f"{task} at {budget}: probabilities of ranks, {searcher} (seed {seed})",
        x_label="Round",
        y_label="Rank",
        share_label="Probability",
        layers=layers,
        notes=tuple(notes),
    )


def layer_probabilities(trace: Iterable[Mapping[str, Any]]) -> dict[str, LayerProbabilities]:
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


def _probabilities(rounds: Mapping[int, Mapping[str, Any]]) -> LayerProbabilities:
    entries = list(rounds.values())
    ends = _masses(entries[-1])
    form = max(ends, key=lambda name: ends[name])
    return LayerProbabilities(
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
