"""Bytes of the weights as they are stored."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from rank_search.arrays import IntArray
from rank_search.nests import Nest
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.layers.layer import Layer
from rank_search.space.metrics.metric import Metric


class Bytes(Metric):
    """Bytes of all parameters and saved buffers in their own dtypes; one that is shared counts once.

    It is what a file of the weights holds beside its header. Factors have the dense weight's dtype.
    """

    name: ClassVar[str] = "bytes"
    unit: ClassVar[str] = "bytes"

    def of_options(self, layer: Layer, form: Decomposition, ranks: IntArray) -> IntArray:
        return layer.itemsize * form.params(layer, ranks)

    def dense(self, layer: Layer) -> int:
        return layer.itemsize * layer.dense_params

    def measure(self, model: nn.Module, example: Nest) -> int:
        held = model.state_dict(keep_vars=True).values()
        stored = {id(tensor): tensor for tensor in held if isinstance(tensor, Tensor)}
        return sum(tensor.numel() * tensor.element_size() for tensor in stored.values())
