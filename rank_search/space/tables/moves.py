"""Moving in a rank space: plans as vectors, distances, neighbours. A plan is its row array ``[layers]`` here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.tables.options import LayerOptions

REMEMBERED = 64  # options of tables whose distances are kept
FORM_CHANGE = 1.0  # the distance added when a layer's form changes


def vector_width(options: LayerOptions) -> int:
    """How many numbers encode one layer: a rank per mode, and the form where there are several."""
    return options.width + (len(options.forms) > 1)


def encode(layers: Sequence[LayerOptions], rows: IntArray) -> FloatArray:
    """A plan as a vector in ``[0, 1]^d``."""
    parts: list[float] = []
    for options, row in zip(layers, rows, strict=True):
        if len(options.forms) > 1:
            parts.append((max(int(options.form[row]), 0) + 0.5) / len(options.forms))
        parts += options.coordinates[row].tolist()
    return np.array(parts)


def decode(layers: Sequence[LayerOptions], vector: FloatArray) -> IntArray:
    """The plan whose options lie nearest to a vector."""
    rows, at = np.zeros(len(layers), dtype=np.int64), 0
    for i, options in enumerate(layers):
        form = 0
        if len(options.forms) > 1:
            form = int(np.clip(vector[at] * len(options.forms), 0, len(options.forms) - 1))
            at += 1
        modes = len(options.forms[form].modes)
        allowed = np.flatnonzero((options.form == form) | (options.form < 0))
        offset = options.coordinates[allowed, :modes] - vector[at : at + modes]
        rows[i] = allowed[int(np.argmin(np.square(offset).sum(1)))]
        at += options.width
    return rows


def distances(options: LayerOptions, row: int) -> FloatArray:
    """Squared distance of every option of a layer from option ``row``, ``[n]``, not to be written to."""
    if len(options) > REMEMBERED:
        return _distances(options, row)
    found = options.distances.get(row)
    if found is None:
        found = options.distances[row] = _distances(options, row)
        found.flags.writeable = False
    return found


def _distances(options: LayerOptions, row: int) -> FloatArray:
    here, places = int(options.form[row]), options.coordinates
    result = np.full(len(options), FORM_CHANGE)
    result += np.square((options.costs[:, 0] - options.costs[row, 0]) / options.costs[0, 0])
    for form, kind in enumerate(options.forms):
        modes = len(kind.modes)
        rows = np.flatnonzero((options.form == form) | (options.form < 0)) if here in (form, -1) else np.array([], int)
        result[rows] = np.square(places[rows, :modes] - places[row, :modes]).sum(1)
    return result


def adjacent(options: LayerOptions, row: int) -> list[int]:
    """Options one step from ``row``: next ranks of the same form, and the nearest in cost of every other form.

    In a thinned table, where one rank alone can seldom change, the next cheaper and dearer of the form are among them.
    """
    here, found = int(options.form[row]), []
    cost = np.abs(options.costs[:, 0] - options.costs[row, 0])
    for form in range(-1, len(options.forms)):
        rows = np.flatnonzero(options.form == form)
        if form != here:
            found.append(int(rows[np.argmin(cost[rows])]))
            continue
        for mode in range(options.width if form >= 0 else 0):
            same = np.delete(options.ranks[rows] == options.ranks[row], mode, axis=1).all(1)
            line = rows[same]
            step = options.ranks[line, mode] - options.ranks[row, mode]
            for side in (line[step > 0], line[step < 0]):
                if len(side):
                    found.append(int(side[np.argmin(np.abs(options.ranks[side, mode] - options.ranks[row, mode]))]))
        if options.thinned:
            order = rows[np.argsort(options.costs[rows, 0], kind="stable")]
            at = int(np.flatnonzero(order == row)[0])
            found += [int(order[i]) for i in (at - 1, at + 1) if 0 <= i < len(order)]
    return sorted(dict.fromkeys(found))
