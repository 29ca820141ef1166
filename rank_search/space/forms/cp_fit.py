"""One fit of a CP: from its start to factors and an error that is measured."""

from __future__ import annotations

import numpy as np

from rank_search.arrays import FloatArray
from rank_search.space.forms.cp_als import Sweeps, balanced, distance, sweeps_of
from rank_search.space.forms.cp_starts import Factors, fibre_starts, least_of_fibres, slices
from rank_search.space.forms.one_thread import one_thread

EXACT = 1e-20  # of the energy: what is left to rounding
POLISHED = 1e-5  # below it sweeps in float32 see their own rounding
POLISH_TOLERANCE = 1e-12


def fit(tensor: FloatArray, rank: int, iterations: int, start: Factors | None = None) -> tuple[Factors, float]:
    """The best CP found, balanced: ``[Co, R], [Ci, R], [kh kw, R]``, and its squared error, measured in float64.

    A function of its arguments alone: the same bytes whatever was fitted before. It is no worse than the zero tensor,
    than its start, and than the R fibres of most energy.

    Args:
        tensor: ``[Co, Ci, kh kw]``, finite.
        rank: R.
        iterations: see :class:`CP`.
        start: what :func:`slices` gives for this tensor, R outer products or more; made if not given.
    """
    with one_thread(), np.errstate(over="ignore", invalid="ignore"):
        return _fit(tensor, rank, iterations, start)


def _fit(tensor: FloatArray, rank: int, iterations: int, start: Factors | None) -> tuple[Factors, float]:
    scale = float(np.exp2(np.round(np.log2(max(float(np.abs(tensor).max()), 1e-300)))))
    scaled = tensor / scale  # float32 holds neither 1e-50 nor 1e50
    energy = float(np.square(scaled).sum())
    first = [factor[:, :rank] / np.cbrt(scale) for factor in start or slices(tensor, rank)]
    best = _Best(scaled, [np.zeros_like(factor) for factor in first])
    best.consider(first)
    if best.error > EXACT * energy:
        most, single = sweeps_of(scaled.shape, rank, iterations), Sweeps(scaled)
        best.consider(single.run(first, most)[0])
        if best.error > least_of_fibres(scaled, rank):
            for fibres in fibre_starts(scaled, rank):
                best.consider(fibres)
                best.consider(single.run(fibres, most)[0])
        if best.error < POLISHED * energy:
            best.consider(Sweeps(scaled, np.float64).run(best.factors, most, POLISH_TOLERANCE)[0])
    factors = [factor * np.cbrt(scale) for factor in balanced(best.factors)]
    return factors, distance(tensor, factors)


class _Best:
    """The factors of least error among those considered; of equal ones the first."""

    def __init__(self, tensor: FloatArray, factors: Factors) -> None:
        self._tensor = tensor
        self.factors, self.error = factors, distance(tensor, factors)

    def consider(self, factors: Factors) -> None:
        error = distance(self._tensor, factors)
        if error < self.error:
            self.factors, self.error = factors, error
