"""The dense network with the weights of some layers replaced by mixtures, without building another network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from rank_search.copying import copy_network
from rank_search.nests import Nest
from rank_search.space.forms.factor_modules import weight_for
from rank_search.task.repair.recalibration import BatchNorm


class MixedNetwork:
    """Runs a frozen copy of a network with other weights, with gradients in them.

    Args:
        dense: the network; left as it was.
    """

    def __init__(self, dense: nn.Module) -> None:
        self._dense = dense
        self._copies: dict[bool, nn.Module] = {}

    def outputs(self, weights: Mapping[str, Tensor], inputs: Nest, batch_statistics: bool) -> Any:
        """What the network puts out.

        Args:
            weights: canonical, ``[groups, Co / groups, Ci / groups, taps]``, by layer name.
            inputs: as the network is called with, where it is.
            batch_statistics: whether batch norms use those of the batch.
        """
        model = self._copy(batch_statistics)
        replaced = {}
        for name, weight in weights.items():
            module = model.get_submodule(name)
            dense = module.weight
            assert isinstance(dense, Tensor)
            replaced[f"{name}.weight"] = weight_for(module, weight).to(dense)
        if isinstance(inputs, Mapping):
            return functional_call(model, replaced, (), dict(inputs))
        return functional_call(model, replaced, tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,))

    def _copy(self, batch_statistics: bool) -> nn.Module:
        """In evaluation mode, but for batch norms that use the batch's statistics."""
        if batch_statistics not in self._copies:
            model = copy_network(self._dense).eval().requires_grad_(False)
            for module in model.modules():
                if batch_statistics and isinstance(module, BatchNorm):
                    module.train()
            self._copies[batch_statistics] = model
        return self._copies[batch_statistics]
