"""One layer's weight as the forms see it, and what has been computed from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from rank_search.space.layers.factor_cache import FactorCache, Tensors
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.whitening import RIDGE, Whitening


class LayerWeight:
    """A weight in float64 on the CPU, in the metric in which its errors are measured.

    Without a whitening the metric is Frobenius'. With one, :attr:`tensor` is the weight times a root of the input's
    second moment, whose squared Frobenius norm, times :attr:`scale`, is that of the layer's OUTPUT; a form decomposes
    that tensor, and :meth:`unwhiten` takes the root off its first factor again.

    Args:
        layer: the geometry.
        weight: the dense weight; a copy is kept, so that training the model later changes nothing here.
        cache: where parts are kept.
        whitening: of the layer's input, or None.

    Tensors that it gives are shared: nobody may write to them.
    """

    def __init__(
        self, layer: Layer, weight: Tensor, cache: FactorCache | None = None, whitening: Whitening | None = None
    ) -> None:
        self.layer, self.whitening = layer, whitening
        self._weight = weight.detach().cpu().clone()
        self.cache = cache or FactorCache()

    @property
    def plain(self) -> Tensor:
        """The weight itself, ``[groups, Co / groups, Ci / groups, taps]``."""
        return self.layer.canonical(self._weight.double())

    @property
    def tensor(self) -> Tensor:
        """The weight in the metric, ``[groups, Co / groups, Ci / groups, taps]``."""

        def compute() -> Tensor:
            if self.whitening is None:
                return self.plain
            return torch.einsum("goit,gij->gojt", self.plain, self.whitening.root)

        return self.cache.latest(self._digest, compute)

    @property
    def scale(self) -> float:
        """What squared errors of :attr:`tensor` are multiplied by to be squared errors in the metric."""
        return 1.0 if self.whitening is None else self.whitening.scale

    @cached_property
    def energy(self) -> float:
        """``||W||^2`` of :attr:`tensor`, without the scale."""
        return float(self.tensor.square().sum())

    def unwhiten(self, first: Tensor) -> Tensor:
        """A factor ``[groups, r, Ci / groups, taps]`` of :attr:`tensor`, as one of the weight itself."""
        return first if self.whitening is None else torch.einsum("grjt,gji->grit", first, self.whitening.inverse)

    def part(self, name: str, compute: Callable[[], Tensors], on_disk: bool = True) -> Tensors:
        """What ``compute`` returns, computed once for all layers of equal weight, geometry and metric.

        Args:
            name: says what it is; a form whose numbers change must change the name.
            compute: returns tensors by name, float64.
            on_disk: whether to keep it on disk, too: not if it is as fast to compute as to read.
        """
        return self.cache.get(f"{name}-{self._digest}", compute, on_disk)

    @cached_property
    def _digest(self) -> str:
        layer = self.layer
        digest = hashlib.sha256(f"{layer.shape} {layer.groups} {layer.transposed}".encode())
        digest.update(self._weight.double().contiguous().numpy().tobytes())
        if self.whitening is not None:
            digest.update(f"{RIDGE}".encode())
            digest.update(self.whitening.moment.contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]
