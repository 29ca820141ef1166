"""Which ranks of a form are timed, and what the others are taken to take."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rank_search.arrays import FloatArray, IntArray

POINTS = 4
"""Ranks of a mode that are timed of those that fill the machine's width, and of those that do not."""

Times = Callable[[Sequence[tuple[int, ...]]], FloatArray]
"""From rank tuples to nanoseconds, measured."""


def interpolated(
    ranks: IntArray,
    offered: IntArray,
    width: int,
    times: Times,
    known: Mapping[tuple[int, ...], float],
) -> FloatArray:
    """Nanoseconds of every rank tuple, measured on a grid and linear in every rank between its points.

    Ranks that are a multiple of ``width`` and others run by different kernels: each has points of its own, so that
    nothing is interpolated across the step between them.

    Args:
        ranks: ``[n, modes]``.
        offered: all that the form has in this layer, ``[m, modes]``, m from 1: the grid is theirs, whichever are asked
            for; ranks beyond them go on the lines of the nearest.
        width: channels that the machine handles at once.
        times: measures.
        known: what was measured, by rank tuple; such an option keeps it.

    Returns:
        ``[n]``, at least 0.
    """
    result = np.zeros(len(ranks))
    offered = offered if len(offered) else ranks
    kinds, all_kinds = ranks % width == 0, offered % width == 0
    for kind in np.unique(kinds, axis=0):
        rows = np.flatnonzero((kinds == kind).all(axis=1))
        nearest = all_kinds[int((all_kinds != kind).sum(axis=1).argmin())]  # the kind itself where any such is offered
        alike = offered[(all_kinds == nearest).all(axis=1)]
        axes = [points(np.unique(alike[:, mode])) for mode in range(ranks.shape[1])]
        grid = [*itertools.product(*axes)]
        measured = times([tuple(map(int, point)) for point in grid]).reshape([len(axis) for axis in axes])
        result[rows] = _linear(axes, measured, ranks[rows])
    for one, time in known.items():
        result[(ranks == one).all(axis=1)] = time
    return np.maximum(result, 0.0)


def points(values: IntArray) -> IntArray:
    """At most :data:`POINTS` of the ascending values, the first and last among them, in geometric steps."""
    if len(values) <= POINTS:
        return values
    wanted = np.geomspace(values[0], values[-1], POINTS)
    places = np.abs(values[:, None] - wanted).argmin(axis=0)
    chosen: IntArray = values[np.unique(places)]
    return chosen


def _linear(axes: Sequence[IntArray], measured: FloatArray, ranks: IntArray) -> FloatArray:
    """Linear between the points along every axis of more than one."""
    free = [mode for mode, axis in enumerate(axes) if len(axis) > 1]
    squeezed = measured.reshape([len(axes[mode]) for mode in free])
    if not free:
        return np.full(len(ranks), float(squeezed))
    from scipy.interpolate import RegularGridInterpolator

    inside = RegularGridInterpolator(
        [axes[mode].astype(np.float64) for mode in free], squeezed, bounds_error=False, fill_value=None
    )
    found: FloatArray = inside(ranks[:, free].astype(np.float64))
    return found
