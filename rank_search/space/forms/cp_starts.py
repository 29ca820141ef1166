"""Where fits of a CP start: exact decompositions of a tensor into many outer products, cut after the first R."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.forms.one_thread import one_thread

Factors = list[FloatArray]
"""One matrix ``[extent, R]`` per mode of a tensor ``[Co, Ci, kh kw]``."""


def slices(tensor: FloatArray, most: int) -> Factors:
    """The tensor as a sum of orthogonal outer products, the first ``most`` by falling energy.

    They are the singular triples of the slices along the smallest mode, taken in the singular basis of that mode. All
    of them are an exact CP. The first R are a better start than leading singular vectors of unfoldings, and the optimum
    of a tensor that is zero, constant, of rank one, or an identity.

    Returns:
        ``[Co, most], [Ci, most], [kh kw, most]``, balanced.
    """
    mode = 2 - int(np.argmin(tensor.shape[::-1]))
    along = np.moveaxis(tensor, mode, 0)
    unfolding = along.reshape(len(along), -1)
    with one_thread():
        basis = np.linalg.eigh(unfolding @ unfolding.T)[1][:, ::-1]
        stack = (basis.T @ unfolding).reshape(along.shape)
        rows, columns = np.delete(np.array(tensor.shape), mode)
        wide = bool(rows <= columns)
        stack = stack if wide else stack.transpose(0, 2, 1)
        left = np.linalg.eigh(stack @ stack.transpose(0, 2, 1))[1][:, :, ::-1]
        right = left.transpose(0, 2, 1) @ stack  # the sum is the tensor, however exact the eigenvectors are
        values = np.linalg.norm(right, axis=2)
        right /= np.maximum(values, 1e-300)[:, :, None]
    which, column = np.divmod(np.argsort(-values.ravel(), kind="stable")[:most], values.shape[1])
    size = np.cbrt(values[which, column])
    pair = left[which, :, column].T, right[which, column, :].T
    sides = iter(pair if wide else pair[::-1])
    found = [np.ascontiguousarray((basis[:, which] if m == mode else next(sides)) * size) for m in range(3)]
    return [np.pad(factor, ((0, 0), (0, max(0, most - factor.shape[1])))) for factor in found]


def fibre_starts(tensor: FloatArray, rank: int) -> Iterator[Factors]:
    """The R fibres of most energy, along each mode: good where most of a tensor is zero."""
    return (_fibres(tensor, rank, along) for along in range(3))


def least_of_fibres(tensor: FloatArray, rank: int) -> float:
    """The squared error of the R fibres of most energy, along the best mode."""
    energies = (np.square(tensor).sum(along).ravel() for along in range(3))
    return min(float(np.sort(energy)[: max(len(energy) - rank, 0)].sum()) for energy in energies)


def _fibres(tensor: FloatArray, rank: int, along: int) -> Factors:
    """Factors ``[extent, R]``; columns of zeros where there are fewer fibres.

    A tensor is the sum of its fibres, each an outer product of two unit vectors and itself.
    """
    fibres = np.moveaxis(tensor, along, 2)
    chosen: IntArray = np.argsort(-np.square(fibres).sum(2).ravel(), kind="stable")[:rank]
    places = np.divmod(chosen, fibres.shape[1])
    columns, sides = np.arange(len(chosen)), iter(places)
    factors = [np.zeros((size, rank)) for size in tensor.shape]
    for mode, factor in enumerate(factors):
        if mode == along:
            factor[:, : len(chosen)] = fibres[places].T
        else:
            factor[next(sides), columns] = 1.0
    return factors
