"""What Tucker-2 and the tensor train with three cores share: 1x1, a kernel between few channels, 1x1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rank_search.arrays import IntArray
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.factor_shapes import FactorShape, Shapes, all_axes
from rank_search.space.layers.layer import Layer


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

    def factor_shapes(self, layer: Layer, ranks: IntArray) -> Shapes:
        out, into = (column * layer.groups for column in self.split(ranks))
        return (
            FactorShape(layer.in_channels, into, layer.groups),
            FactorShape(into, out, layer.groups, all_axes(layer)),
            FactorShape(out, layer.out_channels, layer.groups),
        )
