"""SVD of a two-dimensional convolution between its axes: kh x 1, then 1 x kw (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rank_search.arrays import IntArray
from rank_search.space.forms.factor_shapes import FactorShape, Shapes
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.layers.layer import Layer


class SVDSpatial(MatrixForm):
    """Truncated SVD of ``[Ci kh, Co kw]``, one rank R: two convolutions, one per axis.

    (Jaderberg et al., BMVC 2014; in closed form: Tai et al., ICLR 2016.)
    """

    name: ClassVar[str] = "svd_spatial"
    unfolding: ClassVar[str] = "spatial"

    def why_not(self, layer: Layer) -> str | None:
        if len(layer.kernel) != 2:
            return "svd_spatial is for two-dimensional convolutions"
        if 1 in layer.kernel:
            extents = "x".join(map(str, layer.kernel))
            return f"svd_spatial needs a kernel longer than 1 on both axes, this one is {extents}"
        return None

    def sides(self, layer: Layer) -> tuple[int, int]:
        out, into = layer.group_channels
        return into * layer.kernel[0], out * layer.kernel[1]

    def unfold(self, layer: Layer, tensor: Tensor) -> Tensor:
        axes = torch.unflatten(tensor, 3, layer.kernel)  # [groups, o, i, kh, kw]
        return axes.permute(0, 2, 3, 1, 4).reshape(layer.groups, *self.sides(layer))

    def refold(self, layer: Layer, matrix: Tensor) -> Tensor:
        (out, into), (height, width) = layer.group_channels, layer.kernel
        axes = matrix.reshape(layer.groups, into, height, out, width)
        return axes.permute(0, 3, 1, 2, 4).flatten(3)

    def fold(self, layer: Layer, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.unflatten(left, 1, (-1, layer.kernel[0])).permute(0, 3, 1, 2)
        last = torch.unflatten(right, 2, (-1, layer.kernel[1])).transpose(1, 2)
        return first, last

    def factor_shapes(self, layer: Layer, ranks: IntArray) -> Shapes:
        inner = ranks[:, 0] * layer.groups
        return (
            FactorShape(layer.in_channels, inner, layer.groups, (0,)),
            FactorShape(inner, layer.out_channels, layer.groups, (1,)),
        )
