"""SVD of a two-dimensional convolution between its axes: kh x 1, then 1 x kw (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rank_search.space.forms.decomposition import IntArray
from rank_search.space.forms.factor_modules import has_bias, kernel
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.layers.layer import Layer
from rank_search.space.plan import Choice


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

    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        return ranks[:, 0] * (layer.in_channels * layer.kernel[0] + layer.out_channels * layer.kernel[1])

    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        first, last = layer.in_channels * layer.kernel[0], layer.out_channels * layer.kernel[1]
        if layer.transposed:
            return ranks[:, 0] * (layer.in_positions * first + layer.half_positions * last)
        return ranks[:, 0] * (layer.half_positions * first + layer.out_positions * last)

    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        layer, (rank,) = Layer.of("", module), ranks
        inner, groups = rank * layer.groups, layer.groups
        first = kernel(module, layer.in_channels, inner, groups, axis=0)
        last = kernel(module, inner, layer.out_channels, groups, has_bias(module), axis=1)
        return LowRank(Choice(self.name, ranks), [first, last])
