"""Bases and energies of unfoldings from Gram matrices in float64 (docs/methods.md)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rank_search.space.decomposition import FloatArray


def left_basis(unfolding: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular basis and energies of a matrix, by the eigenvectors of its Gram matrix.

    Args:
        unfolding: ``[m, n]``, float64, ``m <= n`` (the Gram matrix of the SMALLER side is the cheap one).

    Returns:
        The basis ``[m, m]``, columns by falling energy, and the squared singular values ``[m]``, not negative.
    """
    matrix = unfolding.numpy()
    energies, basis = np.linalg.eigh(matrix @ matrix.T)  # NumPy forms A A^T by syrk: half of a general product
    return torch.from_numpy(basis[:, ::-1].copy()), torch.from_numpy(np.maximum(energies[::-1], 0.0))


def tails(energies: FloatArray) -> FloatArray:
    """``e(R) = sum_{j > R} s_j^2`` for R = 0 .. m, summed from the small end so that small tails keep their digits."""
    return np.concatenate([np.cumsum(energies[::-1])[::-1], [0.0]])
