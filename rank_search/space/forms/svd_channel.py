"""SVD of a convolution between its channels: the kernel to R channels, then 1x1 (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rank_search.arrays import IntArray
from rank_search.space.forms.factor_shapes import FactorShape, Shapes, all_axes
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.layers.layer import Layer


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

    def factor_shapes(self, layer: Layer, ranks: IntArray) -> Shapes:
        inner = ranks[:, 0] * layer.groups
        return (
            FactorShape(layer.in_channels, inner, layer.groups, all_axes(layer)),
            FactorShape(inner, layer.out_channels, layer.groups),
        )
