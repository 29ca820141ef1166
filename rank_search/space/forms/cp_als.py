"""Alternating least squares for the CP of a convolution: few, large matrix products and no Khatri-Rao product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.linalg.lapack import get_lapack_funcs

from rank_search.arrays import FloatArray
from rank_search.space.forms.cp_starts import Factors

Floats = NDArray[np.floating[Any]]

TOLERANCE, RELATIVE = 1e-5, 1e-2
PATIENCE = 2
"""A fit ends when so many sweeps in a row lower the error by less than 1e-5 of the energy and than 1e-2 of itself."""
RIDGE = {"float32": 1e-4, "float64": 1e-13}  # of the mean diagonal of the normal matrix
FIRST, GROWTH, CUT, LARGEST = 0.5, 1.15, 0.3, 10.0  # of the step along the last change
UNEXTRAPOLATED = 2
FREE_WORK, LEAST_SWEEPS = 1.5e7, 8


class Sweeps:
    """The sweeps of one tensor in one precision.

    A sweep contracts the tensor twice, with the input factor (for the output factor) and with the output factor (for
    the other two), and solves three sets of normal equations by Cholesky with a small ridge. Memory: the tensor twice,
    and ``kh kw max(Co, Ci) R`` numbers.

    Args:
        tensor: ``[Co, Ci, kh kw]``.
        dtype: of the arithmetic, float32 or float64.
    """

    def __init__(self, tensor: FloatArray, dtype: DTypeLike = np.float32) -> None:
        self.energy = float(np.square(tensor).sum())
        by_taps = tensor.astype(dtype).transpose(2, 0, 1)
        self._dtype, self._taps = by_taps.dtype, len(by_taps)
        self._to_out = np.ascontiguousarray(by_taps).reshape(-1, tensor.shape[1])  # [kh kw Co, Ci]
        self._to_in = np.ascontiguousarray(by_taps.transpose(0, 2, 1)).reshape(-1, tensor.shape[0])  # [kh kw Ci, Co]
        self._ridge = RIDGE[self._dtype.name]
        self._factorise, self._substitute = get_lapack_funcs(("potrf", "potrs"), (by_taps,))

    def run(self, start: Factors, most: int, tolerance: float = TOLERANCE) -> tuple[Factors, float]:
        """Sweeps from a start, each from where the last change points, while the error falls.

        Where a sweep from an extrapolated point raises the error, its result goes, and the next step is shorter.

        Args:
            start: balanced factors.
            most: sweeps, those that went included.
            tolerance: see ``TOLERANCE``.

        Returns:
            The factors, balanced, and their squared error as the normal equations have it.
        """
        now: list[Floats] = [factor.astype(self._dtype) for factor in start]
        before: list[Floats] | None = None
        error, step, slow = np.inf, FIRST, 0
        for count in range(most):
            ahead = before is not None and count >= UNEXTRAPOLATED
            point = now if before is None or not ahead else _beyond(now, before, step)
            found = self._sweep(point)
            if found is None or not found[1] <= error:
                if not ahead:
                    break
                step, before = step * CUT, None
                continue
            step = min(step * GROWTH, LARGEST) if ahead else step
            gained, error = error - found[1], found[1]
            before, now = now, found[0]
            slow = slow + 1 if gained < tolerance * self.energy and gained < RELATIVE * error else 0
            if slow == PATIENCE:
                break
        return [factor.astype(np.float64) for factor in now], error

    def _sweep(self, factors: Sequence[Floats]) -> tuple[list[Floats], float] | None:
        """New factors, balanced, and their squared error; None where the equations cannot be solved."""
        _, into, taps = factors
        of_in, of_taps = into.T @ into, taps.T @ taps
        product = (self._to_out @ into).reshape(self._taps, -1, into.shape[1])
        out = self._solve(of_in * of_taps, np.einsum("kor,kr->or", product, taps))
        if out is None:
            return None
        of_out = out.T @ out
        product = (self._to_in @ out).reshape(self._taps, -1, out.shape[1])
        new = self._solve(of_out * of_in, np.einsum("kir,ir->kr", product, into))
        if new is None:
            return None
        of_taps = new.T @ new
        normal, right = of_out * of_taps, np.einsum("kir,kr->ir", product, new)
        last = self._solve(normal, right)
        if last is None:
            return None
        of_in = last.T @ last
        error = self.energy - 2 * float(np.vdot(right, last)) + float(np.vdot(normal, of_in))
        if not np.isfinite(error):
            return None
        return _balanced([out, last, new], [of_out.diagonal(), of_in.diagonal(), of_taps.diagonal()]), error

    def _solve(self, normal: Floats, right: Floats) -> Floats | None:
        """``X normal = right`` for X, ``[extent, R]``; a larger ridge where the matrix is singular to rounding."""
        ranks = len(normal)
        mean = float(normal.diagonal().sum()) / ranks
        if not 0 < mean < np.inf:
            return np.zeros_like(right) if mean == 0 else None
        ridge = self._ridge
        while ridge < 1:
            matrix = normal.T.copy(order="F")  # it is symmetric: no transposition takes place
            matrix.ravel(order="K")[:: ranks + 1] += self._dtype.type(ridge * mean)
            lower, failed = self._factorise(matrix, lower=1, overwrite_a=1, clean=0)
            if not failed:
                return self._substitute(lower, right.T, lower=1)[0].T  # type: ignore[no-any-return]
            ridge *= 100
        return None


def _beyond(now: Sequence[Floats], before: Sequence[Floats], step: float) -> list[Floats]:
    return [a + step * (a - b) for a, b in zip(now, before, strict=True)]


def balanced(factors: Sequence[Floats]) -> list[Floats]:
    """Each factor of a component gets the cube root of the product of their norms."""
    return _balanced(factors, [np.square(factor).sum(0) for factor in factors])


def _balanced(factors: Sequence[Floats], squares: Sequence[Floats]) -> list[Floats]:
    """As :func:`balanced`, from the squared norms."""
    norms = np.sqrt(np.array(squares))
    scale = np.cbrt(norms).prod(0) / np.maximum(norms, np.finfo(norms.dtype).tiny)
    return [factor * one for factor, one in zip(factors, scale, strict=True)]


def distance(tensor: FloatArray, factors: Factors) -> float:
    """The squared error, measured against the rebuilt tensor tap by tap; inf for factors that are not finite."""
    out, into, taps = factors
    error = sum(float(np.square(tensor[:, :, k] - (out * taps[k]) @ into.T).sum()) for k in range(len(taps)))
    return error if np.isfinite(error) else np.inf


def sweeps_of(shape: tuple[int, int, int], rank: int, iterations: int) -> int:
    """How many sweeps a fit may take: fewer where one is dear, so that wide layers stay within reach.

    All ``iterations`` up to 1.5e7 multiply-adds a sweep (64 x 64 x 9 at rank 130), then in inverse proportion to the
    root of the work, at least 8 of 60.
    """
    out, into, taps = shape
    work = 2.0 * out * into * taps * rank + rank**3 / 2 + rank**2 * 2.0 * (out + into + taps)
    least = -(-iterations * LEAST_SWEEPS // 60)
    return max(least, round(iterations * math.sqrt(min(1.0, FREE_WORK / work))))
