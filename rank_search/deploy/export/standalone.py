"""Builds the network of ``model.safetensors`` from the dense one, with torch and safetensors alone.

    from load import load
    network = load("model.safetensors", DenseNetwork())

The file's header says which layers are several layers in a row (``layers``), and of which form and ranks (``plan``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn


class Factors(nn.Sequential):
    """Layers in a row in place of one; answers what is asked of that one: its geometry, and its weight's shape."""

    __jit_unused_properties__ = ("weight", "bias")

    def __init__(self, described: dict[str, Any]) -> None:
        super().__init__(*(_layer(factor) for factor in described["factors"]))
        self._shape = tuple(described["weight_shape"])
        for name, value in described["geometry"].items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)

    @property
    def weight(self) -> Tensor:
        """Of the dense layer's shape, without values."""
        dtype: Any = self[0].weight.dtype
        return torch.empty(self._shape, dtype=dtype, device="meta")

    @property
    def bias(self) -> Any:
        return self[-1].bias

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        for module in self:
            if output_size is not None and isinstance(module, nn.ConvTranspose2d):
                input = module(input, output_size=_sizes(module, input, output_size))
            else:
                input = module(input)
        return input


def load(path: str | Path, network: nn.Module) -> nn.Module:
    """Replaces layers of the dense network, whose weights do not matter, loads the file and returns it in eval mode."""
    with safe_open(path, framework="pt") as file:
        layers = json.loads(file.metadata()["layers"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if "" in layers:
        network = Factors(layers.pop(""))
    built = {id(network.get_submodule(name)): Factors(described) for name, described in layers.items()}
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in built:
                setattr(parent, name, built[id(child)])
    for key, value in network.state_dict(keep_vars=True).items():
        saved = tensors.get(key)
        if saved is not None and isinstance(value, Tensor) and value.is_floating_point() and saved.dtype != value.dtype:
            value.data = value.data.to(saved.dtype)
    network.load_state_dict(tensors)
    return network.eval()


def _layer(described: dict[str, Any]) -> nn.Module:
    options = {
        key: tuple(value) if isinstance(value, list) else value for key, value in described.items() if key != "kind"
    }
    layer: nn.Module = getattr(nn, described["kind"])(**options)
    return layer


def _sizes(module: nn.ConvTranspose2d, input: Tensor, output_size: list[int]) -> list[int]:
    """What this factor makes of every axis: an axis that another factor has keeps its extent."""
    count = len(module.kernel_size)
    has = zip(module.kernel_size, module.stride, module.padding, module.dilation)  # noqa: B905
    pairs = zip(list(output_size)[-count:], input.shape[-count:], has)  # noqa: B905
    return [extent if geometry == (1, 1, 0, 1) else size for size, extent, geometry in pairs]
