"""Bases and energies from the Gram matrix, against the singular value decomposition."""

from __future__ import annotations

import numpy as np
import torch

from rank_search.space.spectra import left_basis, tails


def test_basis_and_energies_are_those_of_the_svd() -> None:
    matrix = torch.randn(6, 40).double() * torch.logspace(0, -3, 6, dtype=torch.float64)[:, None]
    basis, energies = left_basis(matrix)
    left, singular, _ = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(energies, singular**2, rtol=1e-8, atol=1e-14)
    torch.testing.assert_close((left.T @ basis).abs(), torch.eye(6).double(), rtol=0, atol=1e-8)
    torch.testing.assert_close(basis.T @ basis, torch.eye(6).double(), rtol=0, atol=1e-12)


def test_energies_fall_and_are_never_negative() -> None:
    matrix = torch.randn(5, 1).double() @ torch.randn(1, 9).double()
    energies = left_basis(matrix)[1]
    assert (energies >= 0).all()
    assert (energies.diff() <= 0).all()


def test_tails_are_the_sums_of_what_is_left() -> None:
    assert tails(np.array([4.0, 2.0, 1.0])).tolist() == [7.0, 3.0, 1.0, 0.0]
    small = tails(np.array([1.0, 1e-20, 1e-21]))
    assert small[1] == 1e-20 + 1e-21
