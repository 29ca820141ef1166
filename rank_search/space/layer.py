"""The geometry of one layer: all that costs and ranks depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

Call = tuple[tuple[int, ...], tuple[int, ...]]
"""Every extent but the channels of the input and the output of one call, for one sample of the model."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer as the forward pass of one sample meets it.

    Args:
        name: the module's name in the model.
        kind: ``"conv2d"`` or ``"linear"``.
        out_channels, in_channels: Co and Ci (features of a linear layer).
        kernel, groups: as in ``torch.nn.Conv2d``; ``(1, 1)`` and 1 for a linear layer.
        calls: one entry per call in a forward pass; empty when only the module, not its use, is known.
    """

    name: str
    kind: Literal["conv2d", "linear"]
    out_channels: int
    in_channels: int
    kernel: tuple[int, int] = (1, 1)
    groups: int = 1
    calls: tuple[Call, ...] = ()

    @classmethod
    def of(cls, name: str, module: nn.Module, calls: tuple[Call, ...] = ()) -> Layer:
        """Reads the geometry of an ``nn.Conv2d`` or ``nn.Linear``."""
        if isinstance(module, nn.Linear):
            return cls(name, "linear", module.out_features, module.in_features, calls=calls)
        if isinstance(module, nn.Conv2d):
            kernel = (module.kernel_size[0], module.kernel_size[1])
            return cls(name, "conv2d", module.out_channels, module.in_channels, kernel, module.groups, calls)
        raise TypeError(f"{name}: {type(module).__name__} is neither nn.Conv2d nor nn.Linear")

    @property
    def taps(self) -> int:
        """Kernel positions, kh x kw."""
        return self.kernel[0] * self.kernel[1]

    @property
    def in_positions(self) -> int:
        """Input pixels (tokens) of one sample, summed over calls: H W."""
        return sum(_product(before) for before, _ in self.calls)

    @property
    def out_positions(self) -> int:
        """Output pixels (tokens) of one sample, summed over calls: H' W'."""
        return sum(_product(after) for _, after in self.calls)

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape: ``[Co, Ci / groups, kh, kw]`` or ``[Co, Ci]``."""
        head = (self.out_channels, self.in_channels // self.groups)
        return head if self.kind == "linear" else (*head, *self.kernel)

    @property
    def dense_params(self) -> int:
        """Weights of the dense layer, without its bias."""
        return self.out_channels * (self.in_channels // self.groups) * self.taps

    @property
    def dense_macs(self) -> int:
        """Multiply-adds of the dense layer for one sample."""
        return self.out_positions * self.dense_params


def _product(size: tuple[int, ...]) -> int:
    result = 1
    for extent in size:
        result *= extent
    return result
