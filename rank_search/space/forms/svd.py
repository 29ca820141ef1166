"""SVD of a linear layer or a 1x1 convolution: two layers of the same kind in a row (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from rank_search.arrays import IntArray
from rank_search.space.forms.factor_shapes import FactorShape, Shapes, all_axes
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.layers.layer import Layer


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

    def factor_shapes(self, layer: Layer, ranks: IntArray) -> Shapes:
        """The stride stands in the factor that leaves the other one the fewer pixels."""
        inner, axes = ranks[:, 0] * layer.groups, all_axes(layer)
        first, last = ((), axes) if layer.transposed else (axes, ())
        return (
            FactorShape(layer.in_channels, inner, layer.groups, first),
            FactorShape(inner, layer.out_channels, layer.groups, last),
        )
