"""Bases and energies from the Gram matrix, against the singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rank_search.space.forms import spectra
from rank_search.space.forms.spectra import tails
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

SHAPES = [(6, 40), (40, 6), (5, 5), (1, 7), (7, 1)]


def linear(matrix: Tensor) -> LayerWeight:
    """A layer whose one unfolding is the matrix."""
    return LayerWeight(Layer("linear", "linear", *matrix.shape), matrix)


def graded(rows: int, columns: int) -> Tensor:
    """A matrix whose singular values fall over three decades."""
    return torch.randn(rows, columns).double() * torch.logspace(0, -3, rows, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("shape", SHAPES)
def test_basis_and_energies_are_those_of_the_svd_of_the_smaller_side(shape: tuple[int, int]) -> None:
    matrix = graded(*shape)
    weight, small = linear(matrix), min(shape)
    energies = torch.from_numpy(spectra.energies(weight, "out", lambda: matrix[None]))[0]
    basis = spectra.basis(weight, "out", lambda: matrix[None])[0]
    left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(energies, singular**2, rtol=1e-8, atol=1e-14)
    wanted = left if shape[0] <= shape[1] else right.T
    identity = torch.eye(small).double()
    torch.testing.assert_close((wanted.T @ basis).abs(), identity, rtol=0, atol=1e-8)
    torch.testing.assert_close(basis.T @ basis, identity, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_split_at_any_rank_is_the_truncated_svd(shape: tuple[int, int]) -> None:
    matrices = torch.stack([graded(*shape), graded(*shape)])
    bases = torch.stack([spectra.basis(linear(one), "out", lambda one=one: one[None])[0] for one in matrices])
    for rank in range(1, min(shape) + 1):
        left, right = spectra.split(matrices, bases, rank)
        assert (left.shape, right.shape) == ((2, shape[0], rank), (2, rank, shape[1]))
        u, s, v = torch.linalg.svd(matrices, full_matrices=False)
        best = (u[:, :, :rank] * s[:, None, :rank]) @ v[:, :rank]
        torch.testing.assert_close(left @ right, best, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", ["out", "in"])
@pytest.mark.parametrize("shape", [(6, 4, (3, 1)), (40, 2, (1, 3)), (2, 40, (1, 3))])
def test_the_basis_of_a_mode_is_the_left_one_of_its_unfolding(
    shape: tuple[int, int, tuple[int, int]], mode: str
) -> None:
    out, into, kernel = shape
    tensor = torch.randn(2 * out, into, *kernel).double()
    weight = LayerWeight(Layer("conv", "conv2d", 2 * out, 2 * into, kernel, groups=2), tensor)
    basis = spectra.mode_basis(weight, mode)
    for group, found in zip(tensor.chunk(2), basis, strict=True):
        matrix = group.flatten(1) if mode == "out" else group.transpose(0, 1).flatten(1)
        left = torch.linalg.svd(matrix, full_matrices=False)[0]
        assert found.shape == left.shape
        torch.testing.assert_close((left.T @ found).abs(), torch.eye(left.shape[1]).double(), rtol=0, atol=1e-7)


def test_energies_fall_and_are_never_negative() -> None:
    matrix = torch.randn(5, 1).double() @ torch.randn(1, 9).double()
    energies = spectra.energies(linear(matrix), "out", lambda: matrix[None])[0]
    assert (energies >= 0).all()
    assert (np.diff(energies) <= 0).all()


def test_tails_are_the_sums_of_what_is_left() -> None:
    assert tails(np.array([4.0, 2.0, 1.0])).tolist() == [7.0, 3.0, 1.0, 0.0]
    small = tails(np.array([1.0, 1e-20, 1e-21]))
    assert small[1] == 1e-20 + 1e-21
