"""Multiply-adds."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from rank_search.arrays import IntArray
from rank_search.nests import Nest
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.layers.counting import count_macs
from rank_search.space.layers.layer import Layer
from rank_search.space.metrics.metric import Metric


class Macs(Metric):
    """Multiply-adds of the network for one sample (1 MAC = 2 FLOPs)."""

    name: ClassVar[str] = "macs"
    unit: ClassVar[str] = "multiply-adds"

    def of_options(self, layer: Layer, form: Decomposition, ranks: IntArray) -> IntArray:
        return form.macs(layer, ranks)

    def dense(self, layer: Layer) -> int:
        return layer.dense_macs

    def measure(self, model: nn.Module, example: Nest) -> int:
        return count_macs(model, example)
