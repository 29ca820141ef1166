"""What Tucker-2 and the tensor train with three cores share: 1x1, a kernel between few channels, 1x1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rank_search.space.forms.decomposition import Decomposition, IntArray
from rank_search.space.forms.factor_modules import has_bias, kernel, pointwise
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.layers.layer import Layer
from rank_search.space.plan import Choice


class ChannelCore(Decomposition):
    """Two ranks, of the output and of the input channels, in the order of ``modes``; per group of a grouped layer."""

    def split(self, ranks: IntArray) -> tuple[IntArray, IntArray]:
        """The columns of the output and of the input channels."""
        return ranks[:, self.modes.index("out")], ranks[:, self.modes.index("in")]

    def why_not(self, layer: Layer) -> str | None:
        if layer.kind == "linear":
            return f"{self.name} is for convolutions"
        if layer.taps == 1:
            return f"the {self.name} of a 1x1 convolution is its SVD: use the form svd"
        return None

    def largest_ranks(self, layer: Layer) -> tuple[int, ...]:
        (out, into), taps = layer.group_channels, layer.taps
        largest = {"out": min(out, into * taps), "in": min(into, out * taps)}
        return tuple(largest[mode] for mode in self.modes)

    def feasible(self, layer: Layer, ranks: IntArray) -> NDArray[np.bool_]:
        inside = ((ranks >= 1) & (ranks <= np.array(self.largest_ranks(layer)))).all(1)
        out, into = self.split(ranks)
        return inside & (out <= into * layer.taps) & (into <= out * layer.taps)

    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        out, into = self.split(ranks)
        inner = layer.groups * out * into * layer.taps
        return layer.in_channels * into + inner + out * layer.out_channels

    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        out, into = self.split(ranks)
        first = layer.in_positions * layer.in_channels * into
        inner = layer.kernel_positions * layer.groups * out * into * layer.taps
        return first + inner + layer.out_positions * layer.out_channels * out

    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        layer = Layer.of("", module)
        groups = layer.groups
        out, into = (int(column[0]) * groups for column in self.split(np.array([ranks], dtype=np.int64)))
        first = pointwise(module, layer.in_channels, into, groups)
        core = kernel(module, into, out, groups)
        last = pointwise(module, out, layer.out_channels, groups, has_bias(module))
        return LowRank(Choice(self.name, ranks), [first, core, last])
