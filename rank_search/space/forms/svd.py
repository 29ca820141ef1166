"""SVD of a linear layer or a 1x1 convolution: two layers of the same kind in a row (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from rank_search.space.forms.decomposition import IntArray
from rank_search.space.forms.factor_modules import has_bias, kernel, pointwise
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.layers.layer import Layer
from rank_search.space.plan import Choice


class SVD(MatrixForm):
    """Truncated singular value decomposition of ``[Co, Ci]``, one rank R."""

    name: ClassVar[str] = "svd"
    unfolding: ClassVar[str] = "out"

    def why_not(self, layer: Layer) -> str | None:
        if layer.taps != 1:
            extents = "x".join(map(str, layer.kernel))
            return f"svd is for linear layers and 1x1 convolutions, this kernel is {extents}"
        return None

    def sides(self, layer: Layer) -> tuple[int, int]:
        return layer.group_channels

    def fold(self, layer: Layer, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return right.unsqueeze(3), left.unsqueeze(3)

    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        return ranks[:, 0] * (layer.in_channels + layer.out_channels)

    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        return layer.kernel_positions * self.params(layer, ranks)

    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        """The stride stands in the factor that leaves the other one the fewer pixels."""
        layer, (rank,), bias = Layer.of("", module), ranks, has_bias(module)
        into, inner, out, groups = layer.in_channels, rank * layer.groups, layer.out_channels, layer.groups
        if layer.kind == "linear":
            pair = [pointwise(module, into, inner), pointwise(module, inner, out, bias=bias)]
        elif layer.transposed:
            pair = [pointwise(module, into, inner, groups), kernel(module, inner, out, groups, bias)]
        else:
            pair = [kernel(module, into, inner, groups), pointwise(module, inner, out, groups, bias)]
        return LowRank(Choice(self.name, ranks), pair)
