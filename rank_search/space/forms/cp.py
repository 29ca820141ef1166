"""CP of a convolution: 1x1, depthwise kh x kw, 1x1 (docs/methods.md)."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import InvalidInputError
from rank_search.space.forms.cp_fit import fit
from rank_search.space.forms.cp_starts import Factors, slices
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.estimate import Estimate
from rank_search.space.forms.factor_shapes import FactorShape, Shapes, all_axes
from rank_search.space.layers.factor_cache import Tensors
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

KNOTS = 8  # ranks of the grid that tables fit, about; every one of a grid that has no more
SMALL = 1536  # weights of a group up to which every rank is fitted: there is nothing to save
SLACK = 1e-3  # of the energy: how far a fit may be from the best one before a floor could be wrong
NAMES = ("out", "in", "taps")


class CP(Decomposition):
    """Canonical polyadic decomposition of ``[Co, Ci, kh kw]``, one rank R, fitted by alternating least squares.

    CP has no nested optimum, so every rank is fitted on its own (``cp_fit.py``) when it is first asked for, and its
    error is measured. :meth:`estimate` fits about eight of the 28 ranks of a layer and interpolates the others; grids
    of up to eight are fitted at every rank. Components are balanced: each factor of a component gets the cube root of
    the product of their norms, without which SGD fails (docs/methods.md). (As convolutions: Lebedev et al., ICLR 2015;
    the grid, the start and the guards are ours.)

    Args:
        ranks: how many ranks a layer is offered, evenly spaced in their logarithm up to the dense layer's cost.
        iterations: sweeps at most; fewer where one is dear (see ``sweeps_of``), or where the error has settled.

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
        return np.array([self._error(weight, rank) for (rank,) in ranks.tolist()], dtype=np.float64)

    def estimate(self, weight: LayerWeight, ranks: IntArray, fitted: NDArray[np.bool_] | None = None) -> Estimate:
        wanted = ranks[:, 0]
        grid = self.candidates(weight.layer)[:, 0]
        if not len(grid) or not len(wanted) or math.prod(weight.layer.group_channels) * weight.layer.taps <= SMALL:
            return Estimate.exact(self.errors(weight, ranks))
        ends = [wanted.min(), wanted.max()]
        outside = [rank for rank in ends if not grid[0] <= rank <= grid[-1]]
        more = wanted[fitted] if fitted is not None else wanted[:0]
        knots = np.unique(
            np.concatenate([grid[:: -math.ceil(len(grid) / KNOTS)], grid[:1], outside, more]).astype(np.int64)
        )
        errors = self.errors(weight, knots[:, None])
        if not np.isfinite(errors).all():
            return Estimate.exact(self.errors(weight, ranks))
        return Estimate.between(wanted, knots, errors, self.largest_ranks(weight.layer)[0], SLACK * weight.energy)

    def factors(self, weight: LayerWeight, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        (rank,) = ranks
        found = self._fit(weight, rank)
        first, out = found["in"].transpose(1, 2), found["out"]  # [g, R, i], [g, o, R]
        depthwise = found["taps"].transpose(1, 2).reshape(-1, 1, 1, weight.layer.taps)
        return weight.unwhiten(first.unsqueeze(3)), depthwise, out.unsqueeze(3)

    def _error(self, weight: LayerWeight, rank: int) -> float:
        """Kept apart from the factors: it is looked at again and again, they at one rank of a layer."""
        name = f"{self._name(rank)}.error"
        return weight.part(name, lambda: {"error": self._fit(weight, rank)["error"]})["error"].item()

    def _name(self, rank: int) -> str:
        return f"cp{self._iterations}slices-{rank}"

    def _fit(self, weight: LayerWeight, rank: int) -> Tensors:
        """``out, in, taps``, each ``[groups, extent, R]``, and ``error``."""

        def compute() -> Tensors:
            tensors = [kernel.numpy() for kernel in weight.tensor]
            fits = [
                fit(tensor, rank, self._iterations, start)
                for tensor, start in zip(tensors, self._slices(weight, rank), strict=True)
            ]
            parts = (torch.from_numpy(np.stack(part)) for part in zip(*(factors for factors, _ in fits), strict=True))
            error = torch.tensor(sum(error for _, error in fits), dtype=torch.float64)
            return dict(zip(NAMES, parts, strict=True)) | {"error": error}

        return weight.part(self._name(rank), compute)

    def _slices(self, weight: LayerWeight, rank: int) -> list[Factors]:
        """Of every group; in memory only, for the fits of other ranks."""
        most = max(rank, int(self.candidates(weight.layer).max(initial=0)))

        def compute() -> Tensors:
            found = [slices(kernel.numpy(), most) for kernel in weight.tensor]
            parts = (torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))
            return dict(zip(NAMES, parts, strict=True))

        found = weight.part(f"cpslices-{most}", compute, on_disk=False)
        return [[found[name][group].numpy() for name in NAMES] for group in range(weight.layer.groups)]
