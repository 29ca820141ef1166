"""CP of tensors for which plain alternating least squares meets singular normal matrices."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SOLVES = ("oik,ir,kr->or", "oik,or,kr->ir", "oik,or,ir->kr")
CUT = 1e-12  # of the largest eigenvalue of a normal matrix: smaller ones count as zero
TOLERANCE = 1e-7


def singular_starts(kernel: Tensor, rank: int) -> list[list[Tensor]]:
    """Starts that need no fit: leading singular vectors of the three unfoldings, and fibres of most energy.

    A tensor is the sum of its fibres, each an outer product of two unit vectors and itself: an identity kernel has one
    for every channel, and any tensor as many as the product of its two smaller extents, which is its exact CP.

    Args:
        kernel: ``[Co, Ci, kh kw]``, float64.
        rank: R.

    Returns:
        Factors ``[extent, R]``, three each.
    """
    return [_vectors(kernel, rank), *(_fibres(kernel, rank, along) for along in range(3))]


def least_of_fibres(kernel: Tensor, rank: int) -> float:
    """The squared error of the R fibres of most energy, along the best mode."""
    energies = (kernel.square().sum(along).flatten() for along in range(3))
    return min(float(torch.sort(energy, descending=True)[0][rank:].sum()) for energy in energies)


def _vectors(kernel: Tensor, rank: int) -> list[Tensor]:
    """Leading singular vectors of the unfoldings of modes 1 and 2; mode 0 is what they leave of the tensor."""
    sides = []
    for mode in (1, 2):
        unfolding = kernel.movedim(mode, 0).flatten(1)
        left = torch.from_numpy(np.linalg.eigh((unfolding @ unfolding.T).numpy())[1][:, ::-1].copy())
        sides.append(left[:, torch.arange(rank) % left.shape[1]])
    return [torch.einsum("oik,ir,kr->or", kernel, *sides), *sides]


def _fibres(kernel: Tensor, rank: int, along: int) -> list[Tensor]:
    """The R fibres of most energy along one mode, as factors; fewer where there are fewer."""
    fibres = kernel.movedim(along, 2)  # [a, b, along]
    energies = fibres.square().sum(2).flatten()
    chosen = torch.sort(energies, descending=True, stable=True)[1][:rank]
    first, second = chosen // fibres.shape[1], chosen % fibres.shape[1]
    places = iter((first, second))
    factors = []
    columns = torch.arange(len(chosen))
    for mode, size in enumerate(kernel.shape):
        factor = torch.zeros(size, rank, dtype=kernel.dtype)
        if mode == along:
            factor[:, : len(chosen)] = fibres[first, second].T
        else:
            factor[next(places), columns] = 1.0
        factors.append(factor)
    return factors


def alternate(kernel: Tensor, start: list[Tensor], iterations: int) -> list[Tensor]:
    """Alternating least squares with pseudo-inverses: no step raises the error, singular or not."""
    factors = [factor.clone() for factor in start]
    scale, before = float(kernel.square().sum()), float("inf")
    for _ in range(iterations):
        for mode, solve in enumerate(SOLVES):
            others = [factor for other, factor in enumerate(factors) if other != mode]
            normal = (others[0].T @ others[0]) * (others[1].T @ others[1])
            right = torch.einsum(solve, kernel, *others)
            factors[mode] = right @ torch.linalg.pinv(normal, rtol=CUT, hermitian=True)
        error = float((kernel - torch.einsum("or,ir,kr->oik", *factors)).square().sum())
        if before - error <= TOLERANCE * scale:
            break
        before = error
    return factors
