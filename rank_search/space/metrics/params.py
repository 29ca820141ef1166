"""Parameters."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from rank_search.arrays import IntArray
from rank_search.nests import Nest
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.layers.layer import Layer
from rank_search.space.metrics.metric import Metric


class Params(Metric):
    """Parameters of the network; one that is shared counts once."""

    name: ClassVar[str] = "params"
    unit: ClassVar[str] = "parameters"

    def of_options(self, layer: Layer, form: Decomposition, ranks: IntArray) -> IntArray:
        return form.params(layer, ranks)

    def dense(self, layer: Layer) -> int:
        return layer.dense_params

    def measure(self, model: nn.Module, example: Nest) -> int:
        return sum(parameter.numel() for parameter in model.parameters())
