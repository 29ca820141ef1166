"""Errors of options of which some are measured and the others lie between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from rank_search.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Estimate:
    """Squared errors of the options of one form.

    Attributes:
        errors: measured, or interpolated, ``[n]``.
        floors: what no option's measured error is expected to be below, ``[n]``: the measured errors themselves.
        measured: which ones are measured, ``[n]``.
    """

    errors: FloatArray
    floors: FloatArray
    measured: NDArray[np.bool_]

    @classmethod
    def exact(cls, errors: FloatArray) -> Estimate:
        """All measured."""
        return cls(errors, errors, np.ones(len(errors), dtype=np.bool_))

    @classmethod
    def between(cls, ranks: IntArray, knots: IntArray, errors: FloatArray) -> Estimate:
        """Of a form with one rank, whose best error falls with it.

        Between knots the errors run along monotone cubics of the logarithm of the rank (Fritsch and Carlson, 1980). A
        rank errs at least as much as the next larger knot: a fit of the smaller rank is one of the larger, too.

        Args:
            ranks: ``[n]``, none above the largest knot or below the smallest.
            knots: ``[m]``, rising.
            errors: measured there.
        """
        falling = np.minimum.accumulate(errors)
        place = np.searchsorted(knots, ranks)
        measured = knots[place] == ranks
        if measured.all():
            return cls.exact(errors[place])
        curve = PchipInterpolator(np.log(knots), falling)(np.log(ranks))
        curve = np.clip(curve, falling[place], falling[np.maximum(place - 1, 0)])
        return cls(
            np.where(measured, errors[place], curve), np.where(measured, errors[place], falling[place]), measured
        )
