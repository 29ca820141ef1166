"""The error that remains after the last factor was refitted: what a table should hold if the networks are repaired."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.estimate import Estimate
from rank_search.space.forms.multiplied import features_of
from rank_search.space.layers.layer_weight import LayerWeight

RIDGE = 1e-4  # of the mean second moment of the features
ALIKE = 1e-8  # relative: features that two ranks share


def refit_errors(form: Decomposition, weight: LayerWeight, ranks: IntArray, moment: Tensor) -> FloatArray:
    """``min_V E ||W x - V f(x)||^2 / E ||W x||^2`` for the features ``f`` that the last factor of every rank is given.

    With ``B`` the rows of the features, ``f = B x``, and ``M = E[x x^T]`` it is ``1 - tr(C G^-1 C^T) / tr(W M W^T)``,
    ``C = W M B^T``, ``G = B M B^T``. Where the features of a smaller rank are the first of those of a larger one (SVD,
    Tucker), one factor ``G = L L^T`` has all ranks: the gain of each feature is a row of ``L^-1 C^T``, squared.

    Args:
        form, weight: of the layer, in Frobenius' metric.
        ranks: ``[n, modes]``.
        moment: M, ``[groups, Ci / groups * taps, Ci / groups * taps]``, float64 (see :func:`patch_moments`).

    Returns:
        ``[n]``, between 0 and 1; 0 for a layer that puts out nothing.
    """
    plain = weight.plain.flatten(2)
    seen = plain @ moment  # [groups, Co / groups, features of x]
    total = float((seen * plain).sum())
    result = np.zeros(len(ranks))
    if total <= 0:
        return result
    for rows, mode in _nests(form, ranks):
        largest = rows[np.argmax(ranks[rows, mode])] if mode is not None else rows[0]
        features = _features(form, weight, ranks[largest])
        if features is None:
            result[rows] = form.errors(weight, ranks[rows]) / max(weight.energy, 1e-300)
            continue
        order = None if mode is None else _order(form, weight, ranks, rows, mode, features)
        if order is None:
            for row in rows:
                one = features if row == largest else _features(form, weight, ranks[row])
                assert one is not None
                result[row] = 1 - float(_gains(one, seen, moment).sum()) / total
        else:
            assert mode is not None
            gains = _gains(features[:, order], seen, moment).cumsum(0).numpy()
            each = len(order) // int(ranks[largest, mode])
            result[rows] = 1 - gains[ranks[rows, mode] * each - 1] / total
    return np.clip(result, 0.0, 1.0)


def refit_estimate(
    form: Decomposition, weight: LayerWeight, ranks: IntArray, moment: Tensor, fits: Estimate
) -> Estimate:
    """:func:`refit_errors` of what is fitted, times ``||W||^2``; between, they run along the logarithm of the rank.

    Args:
        form, weight, ranks, moment: as there.
        fits: which options are fitted, ``[n]``.
    """
    rows = np.flatnonzero(fits.measured)
    errors = np.zeros(len(ranks))
    errors[rows] = refit_errors(form, weight, ranks[rows], moment)
    floors = errors.copy()
    if len(rows) < len(ranks):
        rows = rows[np.argsort(ranks[rows, 0])]
        others = np.flatnonzero(~fits.measured)
        knots, wanted = ranks[rows, 0], ranks[others, 0]
        falling = np.minimum.accumulate(errors[rows])
        errors[others] = np.interp(np.log(wanted), np.log(knots), falling)
        floors[others] = falling[np.minimum(np.searchsorted(knots, wanted), len(knots) - 1)]
    return Estimate(errors * weight.energy, floors * weight.energy, fits.measured)


def _nests(form: Decomposition, ranks: IntArray) -> Iterator[tuple[IntArray, int | None]]:
    """Rows that differ in one nested mode alone, the one that the last factor is given; every row once."""
    if not form.nested:
        for row in range(len(ranks)):
            yield np.array([row]), None
        return
    mode = form.modes.index("out") if "out" in form.nested else form.modes.index(form.nested[0])
    _, places = np.unique(np.delete(ranks, mode, axis=1), axis=0, return_inverse=True)
    for place in range(int(places.max(initial=-1)) + 1):
        yield np.flatnonzero(places.reshape(-1) == place), mode


def _features(form: Decomposition, weight: LayerWeight, ranks: IntArray) -> Tensor | None:
    """B, ``[groups, features, Ci / groups * taps]`` (see :func:`features_of`)."""
    return features_of(form.factors(weight, tuple(ranks.tolist())), weight.layer.groups)


def _order(
    form: Decomposition, weight: LayerWeight, ranks: IntArray, rows: IntArray, mode: int, features: Tensor
) -> IntArray | None:
    """The features in an order in which every rank's are the first ones; None if there is none."""
    top, count = int(ranks[rows, mode].max()), features.shape[1]
    if count % top:
        return None
    by_rank = np.arange(count).reshape(top, -1).reshape(-1)
    by_part = np.arange(count).reshape(-1, top).T.reshape(-1)
    some = rows[np.argsort(ranks[rows, mode])[len(rows) // 2]]
    fewer = _features(form, weight, ranks[some])
    if fewer is None or fewer.shape[1] * top != count * int(ranks[some, mode]):
        return None
    size = int(ranks[some, mode])
    mine = {"rank": np.arange(fewer.shape[1]), "part": np.arange(fewer.shape[1]).reshape(-1, size).T.reshape(-1)}
    for order, own in ((by_rank, mine["rank"]), (by_part, mine["part"])):
        first = features[:, order[: fewer.shape[1]]]
        if bool(((first - fewer[:, own]).norm() <= ALIKE * features.norm()).all()):
            return order
    return None


def _gains(features: Tensor, seen: Tensor, moment: Tensor) -> Tensor:
    """What each feature explains beyond those before it, over all groups, ``[features]``."""
    turned = features.transpose(1, 2)
    gram = features @ moment @ turned
    size = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    size = size.clamp_min(torch.finfo(size.dtype).tiny)
    root = torch.linalg.cholesky(gram + size * torch.eye(gram.shape[1], dtype=gram.dtype))
    explained = torch.linalg.solve_triangular(root, (seen @ turned).transpose(1, 2), upper=False)
    gains: Tensor = explained.square().sum((0, 2))
    return gains
