"""Errors of options of which some are measured and the others lie between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    def between(
        cls, ranks: IntArray, knots: IntArray, errors: FloatArray, complete: int, slack: float = 0.0
    ) -> Estimate:
        """Of CP, whose best error falls with its rank.

        Between knots the residual's norm runs along monotone cubics of the root of the rank (Fritsch and Carlson,
        1980). A floor is what the next larger knot says: the residual of a fit of rank R is a sum of ``complete``
        orthogonal outer products, so the K - R largest hold at least ``(K - R) / complete`` of it, and the best fit of
        rank K leaves at most the rest.

        Args:
            ranks: ``[n]``, none above the largest knot or below the smallest.
            knots: ``[m]``, rising.
            errors: measured there, ``[m]``.
            complete: a rank at which every tensor of the layer is exact.
            slack: how far above the best errors the measured ones may be; floors are lower by it.
        """
        falling = np.minimum.accumulate(errors)
        place = np.searchsorted(knots, ranks)
        measured = knots[place] == ranks
        if measured.all():
            return cls.exact(errors[place])
        from scipy.interpolate import PchipInterpolator  # half a second of import that only some forms need

        curve = PchipInterpolator(np.sqrt(knots), np.sqrt(falling))(np.sqrt(ranks)) ** 2
        above = falling[np.maximum(place - 1, 0)]
        least = np.minimum(falling[place] / (1 - (knots[place] - ranks) / complete), above)
        return cls(
            np.where(measured, errors[place], np.clip(curve, least, above)),
            np.where(measured, errors[place], np.maximum(least - slack, 0.0)),
            measured,
        )
