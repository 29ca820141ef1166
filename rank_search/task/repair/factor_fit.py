"""Factors by least squares: what a row of layers should hold so that it puts out what is wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rank_search.space.forms.multiplied import multiplied
from rank_search.space.layers.moments import Statistics

Factors = Sequence[Tensor]
"""``[groups, out / groups, in / groups, taps]`` each, in the order they run, float64."""


def weight_of(factors: Factors, groups: int) -> Tensor:
    """What the factors multiply out to, ``[groups, Co / groups, Ci / groups * taps]``."""
    return multiplied(factors, groups).flatten(2)


def fit_last(last: Tensor, statistics: Statistics, ridge: float) -> Tensor:
    """The last factor anew: ``argmin_V E ||y - V f||^2 + ridge mean diag E[f f^T] ||V - V0||^2``.

    Args:
        last: V0, ``[groups, Co / groups, inner, taps]``.
        statistics: of the features f (see :func:`features_of`) and the wanted outputs.
        ridge: above 0.
    """
    before = last.flatten(2)
    size = ridge * statistics.xx.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    size = size.clamp_min(torch.finfo(size.dtype).tiny)
    normal = statistics.xx + size * torch.eye(before.shape[2], dtype=before.dtype)
    wanted = (statistics.yx + size * before).transpose(1, 2)
    root, failed = torch.linalg.cholesky_ex(normal)
    if failed.any():
        return last
    return torch.cholesky_solve(wanted, root).transpose(1, 2).reshape(last.shape)


def fit_all(factors: Factors, statistics: Statistics, dense: Tensor, ridge: float, iterations: int) -> list[Tensor]:
    """All factors anew, from where they are: L-BFGS on ``E ||y - What x||^2 + r ||What - W||^2``.

    ``r = ridge mean diag E[x x^T]``. It ends where an iteration takes off less than :data:`TOLERANCE` of the error.
    The loss is a polynomial in the factors that needs no sample, only moments; it never rises.

    Args:
        factors: where it starts.
        statistics: of the layer's input x and its wanted outputs.
        dense: W, ``[groups, Co / groups, Ci / groups * taps]``.
        ridge: from 0.
        iterations: at most.
    """
    groups = dense.shape[0]
    size = ridge * statistics.xx.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    xx = statistics.xx + size * torch.eye(dense.shape[2], dtype=dense.dtype)
    yx = statistics.yx + size * dense
    total = statistics.yy.sum() + (size * dense.square()).sum()
    start = weight_of(factors, groups)
    unit = (((start @ xx - 2 * yx) * start).sum() + total).clamp_min(torch.finfo(dense.dtype).eps * total)
    found = [factor.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for factor in factors]
    optimiser = torch.optim.LBFGS(
        found,
        max_iter=iterations,
        history_size=HISTORY,
        tolerance_grad=0.0,
        tolerance_change=TOLERANCE,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        weight = weight_of(found, groups)
        loss: Tensor = (((weight @ xx - 2 * yx) * weight).sum() + total) / unit
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return [factor.detach() for factor in found]


HISTORY = 20
TOLERANCE = 1e-4
