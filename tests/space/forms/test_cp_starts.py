"""Starts of CP: sums of outer products that are exact in the end, and the best in simple cases."""

from __future__ import annotations

import numpy as np
import pytest

from rank_search.arrays import FloatArray
from rank_search.space.forms.cp_als import distance
from rank_search.space.forms.cp_starts import fibre_starts, least_of_fibres, slices

SHAPES = [(6, 5, 4), (4, 7, 9), (3, 2, 11), (5, 1, 6), (2, 9, 3)]


def drawn(shape: tuple[int, ...]) -> FloatArray:
    return np.random.default_rng(0).normal(size=shape)


def complete(shape: tuple[int, ...]) -> int:
    first, second, _ = sorted(shape)
    return first * second


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_slices_are_the_tensor_and_the_first_few_leave_the_energy_of_the_others(shape: tuple[int, ...]) -> None:
    tensor, most = drawn(shape), complete(shape)
    factors = slices(tensor, most)
    energies = np.prod([np.square(factor).sum(0) for factor in factors], axis=0)
    assert (np.diff(energies) <= 1e-12).all()
    for rank in range(most + 1):
        left = distance(tensor, [factor[:, :rank] for factor in factors])
        assert left == pytest.approx(energies[rank:].sum(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_m_of_the_complete_sum_hold_at_least_their_share(shape: tuple[int, ...]) -> None:
    """What the floors of interpolated errors rest on."""
    tensor, most = drawn(shape), complete(shape)
    energy = np.square(tensor).sum()
    for count in range(1, most + 1):
        assert distance(tensor, slices(tensor, count)) <= energy * (1 - count / most) + 1e-9


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_tensor_of_rank_one_is_its_first_slice(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    tensor = np.einsum("o,i,k->oik", *(rng.normal(size=size) for size in shape))
    assert distance(tensor, slices(tensor, 1)) <= 1e-25 * np.square(tensor).sum()


def test_more_slices_than_there_are_come_with_zeros() -> None:
    tensor = drawn((3, 2, 2))
    factors = slices(tensor, 9)
    assert [factor.shape for factor in factors] == [(3, 9), (2, 9), (2, 9)]
    assert distance(tensor, factors) < 1e-25


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fibres_leave_the_energy_of_the_others_and_the_best_mode_is_known(shape: tuple[int, ...]) -> None:
    tensor = drawn(shape)
    for rank in (1, 2, complete(shape)):
        errors = [distance(tensor, factors) for factors in fibre_starts(tensor, rank)]
        assert min(errors) == pytest.approx(least_of_fibres(tensor, rank), rel=1e-9, abs=1e-12)
