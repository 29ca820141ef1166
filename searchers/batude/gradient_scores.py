"""The gradient score of BATUDE's components: a moving average of squared gate gradients of the task loss (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.arrays import FloatArray
from rank_search.space.forms.mode_spectra import gate_gradients

from .gated_layer import GatedLayer


class GradientScores:
    """``(dloss/dg_j)^2`` per layer, mode and component, summed over groups; a large one says that the loss needs it.

    Args:
        layers: the gated ones.
        model: in training; its parameters carry the gradients.
        decay: of the average, per optimiser step. It starts from zero everywhere: only ratios of scores matter.
    """

    def __init__(self, layers: Sequence[GatedLayer], model: nn.Module, decay: float) -> None:
        self._layers, self._model, self._decay = layers, model, decay
        self._bases: dict[str, list[Tensor]] = {}
        self._average: dict[str, list[Tensor]] = {}

    def follow(self, bases: Mapping[str, Sequence[Tensor]]) -> None:
        """Takes gradients along these singular vectors ``[groups, m, k]`` from now on."""
        self._bases = {
            layer.name: [basis.to(self._weight(layer)) for basis in bases[layer.name]] for layer in self._layers
        }

    @torch.no_grad()
    def add(self) -> None:
        """Adds the squared gradients that the parameters carry now."""
        for layer in self._layers:
            weight = self._weight(layer)
            if weight.grad is None:
                continue
            canonical = layer.layer.canonical(weight), layer.layer.canonical(weight.grad)
            found = gate_gradients(self._bases[layer.name], *(layer.unfold(tensor) for tensor in canonical))
            squares = [gradient.square().sum(0) for gradient in found]
            before = self._average.get(layer.name, [torch.zeros_like(square) for square in squares])
            self._average[layer.name] = [
                self._decay * old + (1 - self._decay) * new for old, new in zip(before, squares, strict=True)
            ]

    @property
    def values(self) -> dict[str, list[FloatArray]] | None:
        """Per layer and mode ``[k]``; None before any gradient was seen."""
        if not self._average:
            return None
        return {name: [mode.cpu().double().numpy() for mode in modes] for name, modes in self._average.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"average": {name: list(modes) for name, modes in self._average.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._average = {
            layer.name: [mode.to(self._weight(layer)) for mode in state["average"][layer.name]]
            for layer in self._layers
            if layer.name in state["average"]
        }

    def _weight(self, layer: GatedLayer) -> Tensor:
        weight = self._model.get_submodule(layer.name).weight
        assert isinstance(weight, Tensor)
        return weight
