"""Sweeps of alternating least squares: their error is the real one, it never rises, and singular systems are solved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rank_search.arrays import FloatArray
from rank_search.space.forms.cp_als import Sweeps, balanced, distance, sweeps_of
from rank_search.space.forms.cp_starts import Factors, slices


def drawn(shape: tuple[int, ...] = (12, 10, 9)) -> FloatArray:
    return np.random.default_rng(0).normal(size=shape)


def rebuilt(factors: Factors) -> FloatArray:
    found: FloatArray = np.einsum("or,ir,kr->oik", *factors)
    return found


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-10), (np.float32, 1e-5)])
@pytest.mark.parametrize("rank", [1, 7, 40])
def test_the_error_of_the_normal_equations_is_that_of_the_rebuilt_tensor(dtype: Any, within: float, rank: int) -> None:
    tensor = drawn()
    factors, error = Sweeps(tensor, dtype).run(slices(tensor, rank), 20)
    real = float(np.square(tensor - rebuilt(factors)).sum())
    assert error == pytest.approx(real, rel=1e-4, abs=within * np.square(tensor).sum())
    assert distance(tensor, factors) == pytest.approx(real, rel=1e-12)


def test_more_sweeps_are_never_worse_and_the_start_is_left_alone() -> None:
    tensor = drawn()
    start = slices(tensor, 9)
    before = [factor.copy() for factor in start]
    errors = [distance(tensor, start), *(Sweeps(tensor, np.float64).run(start, most, 0.0)[1] for most in range(1, 40))]
    assert (np.diff(errors) <= 1e-9).all()
    assert errors[-1] < 0.9 * errors[0]
    assert all(np.array_equal(a, b) for a, b in zip(start, before, strict=True))


def test_the_extrapolation_saves_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = drawn((24, 24, 9))
    start = slices(tensor, 40)
    fast = Sweeps(tensor).run(start, 25, 0.0)[1]
    monkeypatch.setattr("rank_search.space.forms.cp_als.UNEXTRAPOLATED", 10**6)
    assert fast < Sweeps(tensor).run(start, 25, 0.0)[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_components_that_stand_twice_or_are_zero_do_no_harm(dtype: Any) -> None:
    tensor = drawn()
    start = slices(tensor, 4)
    for more in (start, [np.zeros_like(factor) for factor in start]):
        doubled = [np.hstack([a, b]) for a, b in zip(start, more, strict=True)]
        factors, error = Sweeps(tensor, dtype).run(doubled, 30)
        assert all(np.isfinite(factor).all() for factor in factors)
        assert error <= distance(tensor, start)


def test_a_fit_on_the_same_bytes_gives_the_same_bytes() -> None:
    tensor = drawn((16, 16, 9))
    once, again = (Sweeps(tensor).run(slices(tensor, 20), 30)[0] for _ in range(2))
    assert [factor.tobytes() for factor in once] == [factor.tobytes() for factor in again]


def test_balanced_components_have_equal_norms_and_the_same_product() -> None:
    rng = np.random.default_rng(2)
    factors = [10.0**power * rng.normal(size=(size, 5)) for power, size in ((3, 6), (-4, 5), (0, 4))]
    found = balanced(factors)
    norms = [np.linalg.norm(factor, axis=0) for factor in found]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-12)
    np.testing.assert_allclose(norms[0], norms[2], rtol=1e-12)
    np.testing.assert_allclose(rebuilt(found), rebuilt(factors), rtol=1e-9, atol=1e-12)


def test_wide_layers_get_fewer_sweeps_by_their_shape_alone() -> None:
    assert sweeps_of((64, 64, 9), 100, 60) == 60
    counts = [sweeps_of((512, 512, 9), rank, 60) for rank in (1, 20, 100, 400, 2000)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (60, 8)
    assert sweeps_of((512, 512, 9), 2000, 15) == 2
    assert sweeps_of((512, 512, 9), 2000, 1) == 1
