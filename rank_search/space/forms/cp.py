"""CP of a convolution: 1x1, depthwise kh x kw, 1x1 (docs/methods.md)."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import tensorly as tl
import torch
from numpy.typing import NDArray
from tensorly.decomposition import parafac
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import InvalidInputError
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.factor_shapes import FactorShape, Shapes, all_axes
from rank_search.space.forms.singular_cp import alternate, least_of_fibres, singular_starts
from rank_search.space.layers.factor_cache import Tensors
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

TOLERANCE = 1e-7


class CP(Decomposition):
    """Canonical polyadic decomposition of ``[Co, Ci, kh kw]``, one rank R, fitted by alternating least squares.

    CP has no nested optimum, so every rank is fitted on its own (tensorly ``parafac``, SVD start) when it is first
    asked for, and its error is measured, not predicted. The line search reaches in 60 iterations the error of 200
    without. Where its normal matrices are singular (weights of low rank, identities, zeros), the fit starts elsewhere
    and solves with pseudo-inverses; none is worse than the zero tensor. Components leave ALS with unequal norms and are
    balanced: each factor of a component gets the cube root of their product, without which SGD fails (docs/methods.md).
    (As convolutions: Lebedev et al., ICLR 2015; the grid and the guards are ours.)

    Args:
        ranks: how many ranks a layer is offered, evenly spaced in their logarithm up to the dense layer's cost.
        iterations: of ALS at most; it stops when the error falls by less than 1e-7 of the weight's norm.

    Raises:
        InvalidInputError: for a number below 1.
    """

    name: ClassVar[str] = "cp"
    modes: ClassVar[tuple[str, ...]] = ("rank",)

    def __init__(self, ranks: int = 28, iterations: int = 60) -> None:
        for option, value in (("ranks", ranks), ("iterations", iterations)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInputError(f"cp {option}={value!r} is not allowed: give a whole number from 1")
        self._ranks, self._iterations = ranks, iterations

    def why_not(self, layer: Layer) -> str | None:
        if layer.kind == "linear":
            return "cp is for convolutions"
        if layer.taps == 1:
            return "the CP of a 1x1 convolution is its SVD: use the form svd"
        return None

    def largest_ranks(self, layer: Layer) -> tuple[int, ...]:
        """Every tensor has an exact CP at the product of its two smaller dimensions."""
        smallest = sorted((*layer.group_channels, layer.taps))
        return (smallest[0] * smallest[1],)

    def candidates(self, layer: Layer) -> IntArray:
        """A geometric grid up to the last rank with fewer parameters than the dense layer."""
        per_component = int(self.params(layer, np.ones((1, 1), dtype=np.int64))[0])
        top = min((layer.dense_params - 1) // per_component, self.largest_ranks(layer)[0])
        if top < 1:
            return np.empty((0, 1), dtype=np.int64)
        return np.unique(np.rint(np.geomspace(1, top, self._ranks)).astype(np.int64))[:, None]

    def feasible(self, layer: Layer, ranks: IntArray) -> NDArray[np.bool_]:
        return (ranks[:, 0] >= 1) & (ranks[:, 0] <= self.largest_ranks(layer)[0])

    def factor_shapes(self, layer: Layer, ranks: IntArray) -> Shapes:
        inner = ranks[:, 0] * layer.groups
        return (
            FactorShape(layer.in_channels, inner, layer.groups),
            FactorShape(inner, inner, inner, all_axes(layer)),
            FactorShape(inner, layer.out_channels, layer.groups),
        )

    def errors(self, weight: LayerWeight, ranks: IntArray) -> FloatArray:
        return np.array([self._fit(weight, rank)["error"].item() for (rank,) in ranks.tolist()], dtype=np.float64)

    def factors(self, weight: LayerWeight, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        (rank,) = ranks
        found = self._fit(weight, rank)
        first, out = found["in"].transpose(1, 2), found["out"]  # [g, R, i], [g, o, R]
        depthwise = found["taps"].transpose(1, 2).reshape(-1, 1, 1, weight.layer.taps)
        return weight.unwhiten(first.unsqueeze(3)), depthwise, out.unsqueeze(3)

    def _fit(self, weight: LayerWeight, rank: int) -> Tensors:
        """``out, in, taps``, each ``[groups, extent, R]``, and ``error``."""

        def compute() -> Tensors:
            fits = [fit(kernel, rank, self._iterations) for kernel in weight.tensor]
            out, into, taps, errors = (torch.stack(parts) for parts in zip(*fits, strict=True))
            return {"out": out, "in": into, "taps": taps, "error": errors.sum()}

        return weight.part(f"cp{self._iterations}ls2-{rank}", compute)


def fit(kernel: Tensor, rank: int, iterations: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Balanced CP factors ``[Co, R], [Ci, R], [kh kw, R]`` of ``[Co, Ci, kh kw]`` and the squared error."""
    energy = kernel.square().sum()
    found = [torch.zeros(size, rank, dtype=torch.float64) for size in kernel.shape]
    error = energy
    if energy > 0:
        factors = _parafac(kernel, rank, iterations)
        if factors is not None and (reached := _error(kernel, factors)) < energy:
            found, error = factors, reached
        if factors is None or error > least_of_fibres(kernel, rank):  # what needs no fit is better: a singular case
            for start in singular_starts(kernel, rank):
                factors = alternate(kernel, start, iterations)
                if (reached := _error(kernel, factors)) < error:
                    found, error = factors, reached
    norms = torch.stack([factor.norm(dim=0) for factor in found])
    size = norms.prod(0) ** (1 / 3)
    out, into, taps = (factor * (size / norm.clamp_min(1e-300)) for factor, norm in zip(found, norms, strict=True))
    return out, into, taps, _error(kernel, [out, into, taps])


def _parafac(kernel: Tensor, rank: int, iterations: int) -> list[Tensor] | None:
    """Tensorly's fit; None where a normal matrix of it is singular."""
    with tl.backend_context("numpy", local_threadsafe=True), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            weights, found = parafac(
                kernel.numpy(), rank, n_iter_max=iterations, init="svd", tol=TOLERANCE, random_state=0, linesearch=True
            )
        except np.linalg.LinAlgError:
            return None
    factors = [torch.from_numpy(np.ascontiguousarray(factor, dtype=np.float64)) for factor in found]
    factors[0] = factors[0] * torch.from_numpy(np.asarray(weights, dtype=np.float64))
    return factors


def _error(kernel: Tensor, factors: list[Tensor]) -> Tensor:
    """The squared error; inf for factors that are not finite."""
    error = (kernel - torch.einsum("or,ir,kr->oik", *factors)).square().sum()
    return error if torch.isfinite(error) else torch.tensor(float("inf"), dtype=torch.float64)
