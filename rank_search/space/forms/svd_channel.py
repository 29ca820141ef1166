"""SVD of a convolution between its channels: the kernel to R channels, then 1x1 (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rank_search.space.forms.decomposition import IntArray
from rank_search.space.forms.factor_modules import has_bias, kernel, pointwise
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.layers.layer import Layer
from rank_search.space.plan import Choice


class SVDChannel(MatrixForm):
    """Truncated SVD of ``[Co, Ci kh kw]``, one rank R.

    (As convolutions: Zhang et al., "Accelerating Very Deep Convolutional Networks", TPAMI 2016.)
    """

    name: ClassVar[str] = "svd_channel"
    unfolding: ClassVar[str] = "out"

    def why_not(self, layer: Layer) -> str | None:
        if layer.kind == "linear":
            return "svd_channel is for convolutions"
        if layer.taps == 1:
            return "the channel split of a 1x1 convolution is its SVD: use the form svd"
        return None

    def sides(self, layer: Layer) -> tuple[int, int]:
        out, into = layer.group_channels
        return out, into * layer.taps

    def fold(self, layer: Layer, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return torch.unflatten(right, 2, (-1, layer.taps)), left.unsqueeze(3)

    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        return ranks[:, 0] * (layer.in_channels * layer.taps + layer.out_channels)

    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        first = layer.kernel_positions * layer.in_channels * layer.taps
        return ranks[:, 0] * (first + layer.out_positions * layer.out_channels)

    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        layer, (rank,) = Layer.of("", module), ranks
        inner, groups = rank * layer.groups, layer.groups
        first = kernel(module, layer.in_channels, inner, groups)
        last = pointwise(module, inner, layer.out_channels, groups, has_bias(module))
        return LowRank(Choice(self.name, ranks), [first, last])
