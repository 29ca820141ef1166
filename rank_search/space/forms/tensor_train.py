"""Tensor train of a convolution with three cores: 1x1, kh x kw, 1x1 (docs/methods.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.forms import spectra
from rank_search.space.forms.channel_core import ChannelCore
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

FIRST_RANKS = 16


class TensorTrain(ChannelCore):
    """TT-SVD (Oseledets, SIAM J. Sci. Comput. 2011) in the order input channels, kernel, output channels.

    Ranks (r1 in, r2 out). The second cut is the best one of what the first left, so that at equal ranks, and equal
    cost, the error is at most that of the HOSVD (:class:`Tucker2`). That takes one spectrum per r1: at most 16 values
    of r1 are offered, evenly spaced; every r2 is.
    """

    name: ClassVar[str] = "tensor_train"
    modes: ClassVar[tuple[str, ...]] = ("in", "out")
    nested: ClassVar[tuple[str, ...]] = ("out",)

    def candidates(self, layer: Layer) -> IntArray:
        firsts, last = self._first_ranks(layer), self.largest_ranks(layer)[1]
        grid = np.stack(np.meshgrid(firsts, np.arange(1, last + 1), indexing="ij"), axis=2).reshape(-1, 2)
        return grid[self.feasible(layer, grid)]

    def errors(self, weight: LayerWeight, ranks: IntArray) -> FloatArray:
        grid = self._first_ranks(weight.layer)
        result = np.zeros(len(ranks))
        for first in np.unique(ranks[:, 0]).tolist():
            # the whole grid at once, whatever of it is asked for: the same numbers every time
            kept = _kept(weight, grid)[np.searchsorted(grid, first)] if first in grid else _kept(weight, [first])[0]
            rows = ranks[:, 0] == first
            result[rows] = max(weight.energy - float(kept.sum()), 0.0) + spectra.tails(kept)[ranks[rows, 1]]
        return result

    def factors(self, weight: LayerWeight, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        (into, out), taps = ranks, weight.layer.taps
        matrices = _cut(weight, into)
        core, last = spectra.split(matrices, spectra.basis(weight, f"tt{into}", lambda: matrices), out)
        first = spectra.mode_basis(weight, "in")[:, :, :into].transpose(1, 2)
        return (
            weight.unwhiten(first.unsqueeze(3)),
            torch.unflatten(core, 1, (into, taps)).permute(0, 3, 1, 2),
            last.transpose(1, 2).unsqueeze(3),
        )

    def _first_ranks(self, layer: Layer) -> IntArray:
        top = self.largest_ranks(layer)[0]
        return np.unique(np.ceil(np.arange(1, FIRST_RANKS + 1) * top / FIRST_RANKS).astype(np.int64))


def _kept(weight: LayerWeight, firsts: Iterable[int]) -> FloatArray:
    """Squared singular values of the cut weight for rising r1, ``[len(firsts), Co / groups]``, summed over groups."""
    values = [int(first) for first in firsts]
    name = "tt" if len(values) > 1 else f"tt{values[0]}"
    found: FloatArray = weight.part(name, lambda: {"energies": _energies(weight, values)})["energies"].numpy()
    return found


def _energies(weight: LayerWeight, firsts: list[int]) -> Tensor:
    cut = _cut(weight, firsts[-1], keep=False).numpy()
    taps, start = weight.layer.taps, 0
    gram = np.zeros((cut.shape[0], cut.shape[2], cut.shape[2]))
    found = []
    for first in firsts:
        for total, matrix in zip(gram, cut[:, start * taps : first * taps], strict=True):
            total += matrix.T @ matrix
        start = first
        found.append(np.maximum(np.linalg.eigvalsh(gram)[:, ::-1], 0.0).sum(0))
    return torch.from_numpy(np.stack(found))


def _cut(weight: LayerWeight, first: int, keep: bool = True) -> Tensor:
    """The weight in the leading input basis, ``[groups, r1 taps, Co / groups]``."""
    basis = spectra.mode_basis(weight, "in", keep)[:, :, :first]
    return torch.einsum("goit,gir->grto", weight.tensor, basis).flatten(1, 2)
