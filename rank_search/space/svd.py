"""SVD of a linear layer or a 1x1 convolution: two layers of the same kind in a row (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rank_search.space.decomposition import Analysis, Decomposition, FloatArray, IntArray, bias_of
from rank_search.space.layer import Layer
from rank_search.space.low_rank import LowRank, bare_conv
from rank_search.space.plan import Choice
from rank_search.space.spectra import left_basis, tails


class SVD(Decomposition):
    """Truncated singular value decomposition, one rank R; ``e(R) = sum_{j > R} s_j^2`` (Eckart and Young, 1936).

    The factors are a projection onto the leading basis of the smaller side: ``W = U (U^T W)`` or ``(W V) V^T``.
    """

    name: ClassVar[str] = "svd"
    modes: ClassVar[tuple[str, ...]] = ("rank",)

    def why_not(self, layer: Layer) -> str | None:
        if layer.groups != 1:
            return f"svd needs groups = 1, this layer has {layer.groups}"
        if layer.taps != 1:
            return f"svd is for linear layers and 1x1 convolutions, this kernel is {layer.kernel[0]}x{layer.kernel[1]}"
        return None

    def largest_ranks(self, layer: Layer) -> tuple[int, ...]:
        return (min(layer.out_channels, layer.in_channels),)

    def candidates(self, layer: Layer) -> IntArray:
        return np.arange(1, self.largest_ranks(layer)[0] + 1, dtype=np.int64)[:, None]

    def feasible(self, layer: Layer, ranks: IntArray) -> NDArray[np.bool_]:
        return (ranks[:, 0] >= 1) & (ranks[:, 0] <= self.largest_ranks(layer)[0])

    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        return ranks[:, 0] * (layer.in_channels + layer.out_channels)

    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        return layer.out_positions * self.params(layer, ranks)

    def analyse(self, layer: Layer, weight: Tensor, ranks: IntArray) -> Analysis:
        matrix = weight.flatten(1)
        wide = matrix.shape[0] <= matrix.shape[1]
        basis, energies = left_basis(matrix if wide else matrix.T)
        return {"basis": basis, "energies": energies, "matrix": matrix}

    def errors(self, layer: Layer, analysis: Analysis, ranks: IntArray) -> FloatArray:
        return tails(analysis["energies"].numpy())[ranks[:, 0]]

    def factors(self, layer: Layer, analysis: Analysis, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        basis, matrix = analysis["basis"][:, : ranks[0]], analysis["matrix"]
        if matrix.shape[0] <= matrix.shape[1]:
            return basis.T @ matrix, basis
        return basis.T, matrix @ basis

    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        (rank,), bias = ranks, bias_of(module)
        first: nn.Module
        last: nn.Module
        if isinstance(module, nn.Conv2d):  # the stride belongs to the first factor: the second runs on fewer pixels
            first = bare_conv(
                module.in_channels,
                rank,
                1,
                module.stride,
                module.padding,
                bias=False,
                padding_mode=module.padding_mode,
            )
            last = bare_conv(rank, module.out_channels, 1, bias=bias)
        else:
            assert isinstance(module, nn.Linear)
            first = nn.Linear(module.in_features, rank, bias=False, device="meta")
            last = nn.Linear(rank, module.out_features, bias=bias, device="meta")
        return LowRank(Choice(self.name, ranks), [first, last])
