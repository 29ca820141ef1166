"""What of a layer decides how long it takes: the module without its values, and the shapes that it is given."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from rank_search.space import Layer
from rank_search.space.forms.low_rank import LowRank


@dataclass(frozen=True)
class Geometry:
    """A layer to be timed.

    Args:
        module: the dense layer on the meta device.
        shapes: of its input, one for each call of one run of the network.
    """

    module: nn.Module
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, layer: Layer, module: nn.Module, batch: int) -> Geometry:
        """That of a layer of a space, in a run of so many samples."""
        shapes = []
        for before, _ in layer.calls:
            lead = len(before) - len(layer.kernel)
            first = (batch * before[0], *before[1:lead]) if lead else (batch,)
            if layer.kernel:
                shapes.append((prod(first), layer.in_channels, *before[lead:]))
            else:
                shapes.append((*first, layer.in_channels))
        return cls(_without_values(module), tuple(shapes))

    def key(self, shape: tuple[int, ...], form: str = "dense") -> str:
        """A text that is the same for layers that take the same time in a form."""
        return f"{self.module!r} on {'x'.join(map(str, shape))}: {form}"


def filled(module: nn.Module, generator: torch.Generator) -> nn.Sequential:
    """A chain with random weights, as what takes a module's place runs when it is deployed: with a bias at its end.

    The bias stands for a norm that is folded into the layer.

    Args:
        module: a dense layer, or its factors; on the meta device.
        generator: draws the weights.
    """
    *parts, last = (copy.deepcopy(part) for part in (module if isinstance(module, LowRank) else [module]))
    if getattr(last, "bias", None) is None:
        outputs = last.out_features if isinstance(last, nn.Linear) else last.out_channels
        assert isinstance(outputs, int)
        last.bias = nn.Parameter(torch.empty(outputs, device="meta"))
    chain = nn.Sequential(*parts, last).to_empty(device="cpu").to(torch.float32).eval()
    for parameter in chain.parameters():
        fan = max(1, prod(parameter.shape[1:]))
        parameter.data = torch.randn(parameter.shape, generator=generator) * fan**-0.5
        parameter.requires_grad_(False)
    return chain


def neighbour(tensor: Tensor, module: nn.Module) -> nn.Module:
    """What stands before or after a layer in a network and keeps its layout: a scale per channel.

    Args:
        tensor: what passes through it.
        module: the layer; behind a linear one stands a ReLU.
    """
    if isinstance(module, nn.Linear):
        return nn.ReLU()
    axes = tensor.ndim - 2
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    channels = tensor.shape[1]
    return kind(channels, channels, 1, groups=channels, bias=False).eval().requires_grad_(False)


def drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """An input of that shape."""
    return torch.randn(shape, generator=generator)


def _without_values(module: nn.Module) -> nn.Module:
    """The layer on the meta device; nothing of its weights is copied."""
    memo = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
        for parameter in module.parameters()
    }
    return copy.deepcopy(module, dict(memo)).eval()
