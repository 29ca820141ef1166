"""Energies and bases of unfoldings from Gram matrices in float64 (docs/methods.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from rank_search.arrays import FloatArray
from rank_search.space.layers.layer_weight import LayerWeight

Unfold = Callable[[], Iterable[Tensor]]
"""Returns b matrices ``[m, n]``, float64; called only when something has to be computed."""


def energies(weight: LayerWeight, name: str, unfold: Unfold) -> FloatArray:
    """Squared singular values of every matrix of an unfolding, ``[b, min(m, n)]``, falling, not negative."""

    def compute() -> dict[str, Tensor]:
        values = np.linalg.eigvalsh(_gram(unfold()))
        return {"energies": torch.from_numpy(np.maximum(values[:, ::-1], 0.0))}

    found: FloatArray = weight.part(f"{name}.energies", compute)["energies"].numpy()
    return found


def basis(weight: LayerWeight, name: str, unfold: Unfold) -> Tensor:
    """The singular basis of the SMALLER side of every matrix, ``[b, s, s]`` with ``s = min(m, n)``, by falling energy.

    The Gram matrix of that side is the cheap one (docs/methods.md).
    """

    return weight.part(f"{name}.basis", lambda: {"basis": _eigenvectors(unfold())})["basis"]


def split(matrices: Tensor, bases: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best approximation of rank R of every matrix (Eckart and Young, 1936), as ``[b, m, R]`` and ``[b, R, n]``.

    Both are projections onto the leading basis of the smaller side: ``U (U^T A)`` or ``(A V) V^T``.
    """
    leading = bases[:, :, :rank]
    if matrices.shape[1] <= matrices.shape[2]:
        return leading, leading.transpose(1, 2) @ matrices
    return matrices @ leading, leading.transpose(1, 2)


def unfolding(tensor: Tensor, mode: str) -> Tensor:
    """The channel unfolding of mode ``"out"`` or ``"in"``: ``[groups, channels / groups, rest]``.

    Args:
        tensor: ``[groups, Co / groups, Ci / groups, taps]``.
        mode: ``"out"`` or ``"in"``.
    """
    return tensor.flatten(2) if mode == "out" else tensor.transpose(1, 2).flatten(2)


def mode_basis(weight: LayerWeight, mode: str, keep: bool = True) -> Tensor:
    """The left singular basis of a channel unfolding, ``[groups, m, min(m, n)]``, by falling energy.

    Args:
        weight: of the layer.
        mode: ``"out"`` or ``"in"``.
        keep: False while tables are built: thousands of options are looked at then, few are ever built.
    """

    def compute() -> dict[str, Tensor]:
        matrices = unfolding(weight.tensor, mode)
        if matrices.shape[1] > matrices.shape[2]:
            return {"basis": torch.linalg.svd(matrices, full_matrices=False)[0]}
        return {"basis": _eigenvectors(matrices)}

    return (weight.part(f"{mode}.left", compute) if keep else compute())["basis"]


def tails(energies: FloatArray) -> FloatArray:
    """``e(R) = sum_{j > R} s_j^2`` for R = 0 .. m, summed from the small end so that small tails keep their digits."""
    return np.concatenate([np.cumsum(energies[::-1])[::-1], [0.0]])


def _eigenvectors(matrices: Iterable[Tensor]) -> Tensor:
    """Of every Gram matrix, ``[b, s, s]``, by falling eigenvalue."""
    return torch.from_numpy(np.linalg.eigh(_gram(matrices))[1][:, :, ::-1].copy())


def _gram(matrices: Iterable[Tensor]) -> FloatArray:
    """``A A^T`` or ``A^T A``, whichever is smaller, of every matrix."""
    wide = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices)
    return np.stack([one.numpy() @ one.numpy().T for one in wide])  # NumPy forms A A^T by syrk: half of a product
