"""Ranks from empirical variational Bayesian matrix factorisation, weakened to the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.optimize import minimize_scalar
from torch import Tensor

from rank_search.arrays import FloatArray
from rank_search.searching import About, RuleSearcher
from rank_search.searching.within_budget import first_within, form_names, position_of, row_below, shares
from rank_search.space import RankPlan
from rank_search.space.forms.mode_spectra import spectra_of
from rank_search.space.forms.spectra import unfolding
from rank_search.space.tables.options import LayerOptions

GRID = 200  # noise variances that are tried before the best one is refined


class EVBMF(RuleSearcher):
    """Ranks that the noise of each unfolding leaves (Nakajima et al., JMLR 2013; for networks: Kim et al., ICLR 2016).

    The rule has no budget of its own: as in MUSCO, ranks are weakened, ``r = R - w (R - R_vbmf)`` with the full rank R,
    and w is bisected to the budget; beyond ``w = 1`` ranks go on shrinking in proportion to ``R_vbmf`` (ours). A form
    whose ranks are of no unfolding (``cp``, ``svd_grouped``) takes the share that the unfolding by output channels
    keeps (ours). The rule is applied once per form (a layer without that form takes its first), and the best on
    validation is kept.
    """

    needs_data: ClassVar[bool] = False
    about: ClassVar[About] = About(
        "data-free", "weights", "Nakajima et al., JMLR 2013; Kim et al., ICLR 2016; MUSCO", "reconstruction"
    )

    def plans(self) -> Sequence[RankPlan]:
        return [self._at_budget(form) for form in form_names(self.task)]

    def _at_budget(self, form: str) -> RankPlan:
        layers = [(options, position_of(options, form)) for options in self.task.space.layers]
        full = [np.array(o.forms[p].largest_ranks(o.layer), dtype=np.float64) for o, p in layers]
        found = [self._ranks(layer, p, top) for layer, ((_, p), top) in enumerate(zip(layers, full, strict=True))]

        def plan(parameter: tuple[float, float]) -> RankPlan:
            weakened, scale = parameter
            targets = [scale * (ranks + weakened * (top - ranks)) for ranks, top in zip(found, full, strict=True)]
            rows = [row_below(*layer, target) for layer, target in zip(layers, targets, strict=True)]
            return self.task.space.plan(np.array(rows))

        weak = [(share, 1.0) for share in [*shares(), 0.0]]
        return first_within(self.task, [*weak, *((0.0, share) for share in shares()[1:])], plan)

    def _ranks(self, layer: int, position: int, full: FloatArray) -> FloatArray:
        """``R_vbmf`` of every mode of a form, at least 1, ``[modes]``: the mean of the groups."""
        options = self.task.space.layers[layer]
        matrices = unfoldings(options, position, self.task.approximation(layer, 0))
        if matrices is None:
            by_output = self.task.approximation(layer, 0).flatten(2)
            share = float(np.mean([evbmf_rank(one.numpy()) / min(one.shape) for one in by_output]))
            return np.maximum(1.0, share * full)
        return np.maximum(1.0, [np.mean([evbmf_rank(one.numpy()) for one in matrix]) for matrix in matrices])


def unfoldings(options: LayerOptions, position: int, weight: Tensor) -> tuple[Tensor, ...] | None:
    """Per mode of a form the unfolding whose rank it is, ``[groups, m, n]``; None where its ranks are of none."""
    form = options.forms[position]
    kind = spectra_of(form)
    if kind is not None:
        return kind.unfold(form, options.layer, weight)
    if set(form.modes) == {"out", "in"}:
        return tuple(unfolding(weight, mode) for mode in form.modes)
    return None


def evbmf_rank(matrix: FloatArray) -> int:
    """How many singular values of a matrix empirical variational Bayes keeps.

    Those above ``sqrt(M sigma^2 xbar)`` with ``alpha = L / M <= 1``, ``tau = 2.5129 sqrt(alpha)``,
    ``xbar = (1 + tau)(1 + alpha / tau)``, and the noise ``sigma^2`` of least free energy (Nakajima et al., JMLR 2013,
    Theorems 2 and 3 and Section 4.3: a search in one dimension).

    Args:
        matrix: ``[m, n]``.
    """
    values = np.linalg.svd(matrix, compute_uv=False).astype(np.float64)
    size, large = min(matrix.shape), max(matrix.shape)
    if not np.any(values > 0):
        return 0
    variance = noise_variance(values, size, large)
    return int((values > math.sqrt(large * variance * _threshold(size / large))).sum())


def noise_variance(values: FloatArray, size: int, large: int) -> float:
    """The noise variance of least free energy.

    Args:
        values: singular values, falling, ``[size]``.
        size, large: L <= M.
    """
    alpha = size / large
    most = min(math.ceil(size / (1 + alpha)) - 1, size - 1)  # components that can be kept
    squares = values**2
    upper = float(squares.sum()) / (size * large)
    tail = squares[most:]
    lower = max(
        float(squares[most]) / (large * _threshold(alpha)), float(tail.sum()) / (large * (size - most)), 1e-12 * upper
    )
    if lower >= upper:
        return upper

    def energy(log: float) -> float:
        return free_energy(math.exp(log), squares, size, large)

    grid = np.linspace(math.log(lower), math.log(upper), GRID)  # there may be several minima
    best = int(np.argmin([energy(log) for log in grid.tolist()]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)])
    found = minimize_scalar(energy, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return math.exp(float(found.x if found.fun <= energy(grid[best]) else grid[best]))


def free_energy(variance: float, squares: FloatArray, size: int, large: int) -> float:
    """The free energy at a noise variance, up to a constant and the factor ``2 / M``.

    ``sum_h psi(x_h)`` with ``x_h = gamma_h^2 / (M sigma^2)``, ``psi(x) = x - log x`` for a component that is dropped,
    and ``psi(x) + log(tau + 1) + alpha log(tau / alpha + 1) - tau`` for one that is kept, ``tau`` of its x.
    """
    alpha = size / large
    x = np.maximum(squares / (large * variance), 1e-300)
    total = float((x - np.log(x)).sum())
    kept = x[x > _threshold(alpha)]
    tau = 0.5 * (kept - (1 + alpha) + np.sqrt(np.maximum((kept - (1 + alpha)) ** 2 - 4 * alpha, 0.0)))
    return total + float((np.log(tau + 1) + alpha * np.log(tau / alpha + 1) - tau).sum())


def _threshold(alpha: float) -> float:
    tau = 2.5129 * math.sqrt(alpha)
    return (1 + tau) * (1 + alpha / tau)
