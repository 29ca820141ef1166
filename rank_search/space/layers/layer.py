"""The geometry of one layer: all that costs and ranks depend on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import Tensor, nn

Call = tuple[tuple[int, ...], tuple[int, ...]]
"""Every extent but the channels of the input and the output of one call, for one sample of the model."""

Kind = Literal["linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d"]
KINDS: dict[type[nn.Module], Kind] = {
    nn.Linear: "linear",
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose2d: "conv_transpose2d",
}
"""The modules that can be decomposed. A subclass is not: what it adds is unknown."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer as the forward pass of one sample meets it.

    Args:
        name: the module's name in the model.
        kind: one of ``KINDS``.
        out_channels, in_channels: Co and Ci (features of a linear layer).
        kernel, groups: as in ``torch.nn.Conv2d``; ``()`` and 1 for a linear layer.
        calls: one entry per call in a forward pass; empty when only the module, not its use, is known.
        itemsize: bytes of one weight.
    """

    name: str
    kind: Kind
    out_channels: int
    in_channels: int
    kernel: tuple[int, ...] = ()
    groups: int = 1
    calls: tuple[Call, ...] = ()
    itemsize: int = 4

    @classmethod
    def of(cls, name: str, module: nn.Module, calls: tuple[Call, ...] = ()) -> Layer:
        """Reads the geometry of a module of one of ``KINDS``.

        Raises:
            TypeError: for any other module.
        """
        kind = KINDS.get(type(module))
        if kind is None:
            raise TypeError(f"{name}: {type(module).__name__} is none of {', '.join(k.__name__ for k in KINDS)}")
        weight = module.weight
        assert isinstance(weight, Tensor)
        itemsize = weight.element_size()
        if isinstance(module, nn.Linear):
            return cls(name, kind, module.out_features, module.in_features, calls=calls, itemsize=itemsize)
        assert isinstance(module, nn.modules.conv._ConvNd)
        shape = module.out_channels, module.in_channels, module.kernel_size, module.groups
        return cls(name, kind, *shape, calls, itemsize)

    @property
    def transposed(self) -> bool:
        """Whether the kernel is applied at input pixels and the weight has its input channels first."""
        return self.kind == "conv_transpose2d"

    @property
    def depthwise(self) -> bool:
        """One input channel per group: no channel mode is left to cut."""
        return self.groups > 1 and self.groups == self.in_channels

    @property
    def taps(self) -> int:
        """Kernel positions, kh x kw; 1 for a linear layer."""
        return prod(self.kernel)

    @property
    def group_channels(self) -> tuple[int, int]:
        """``(Co / groups, Ci / groups)``."""
        return self.out_channels // self.groups, self.in_channels // self.groups

    def positions(self, applied: Collection[int]) -> int:
        """Pixels (tokens) of one sample, summed over calls, after these kernel axes were applied and the others not.

        None applied is the input (H W), all is the output (H' W'); with two axes, ``(0,)`` is H' W.
        """
        axes = len(self.kernel)
        total = 0
        for before, after in self.calls:
            lead = len(before) - axes
            extents = [after[lead + axis] if axis in applied else before[lead + axis] for axis in range(axes)]
            total += prod(before[:lead]) * prod(extents)
        return total

    @property
    def in_positions(self) -> int:
        """Input pixels (tokens) of one sample, summed over calls: H W."""
        return self.positions(())

    @property
    def out_positions(self) -> int:
        """Output pixels (tokens) of one sample, summed over calls: H' W'."""
        return self.positions(range(len(self.kernel)))

    @property
    def kernel_positions(self) -> int:
        """Where the kernel is applied: at output pixels, or at the input pixels of a transposed convolution."""
        return self.in_positions if self.transposed else self.out_positions

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape: ``[Co, Ci / groups, *kernel]``; ``[Ci, Co / groups, *kernel]`` when transposed."""
        out, into = self.group_channels
        head = (self.in_channels, out) if self.transposed else (self.out_channels, into)
        return (*head, *self.kernel)

    @property
    def dense_params(self) -> int:
        """Weights of the dense layer, without its bias."""
        return prod(self.shape)

    @property
    def dense_macs(self) -> int:
        """Multiply-adds of the dense layer for one sample."""
        return self.kernel_positions * self.dense_params

    def canonical(self, weight: Tensor) -> Tensor:
        """The weight as ``[groups, Co / groups, Ci / groups, taps]``: the same order for every kind of layer."""
        out, into = self.group_channels
        if self.transposed:
            return weight.reshape(self.groups, into, out, self.taps).transpose(1, 2)
        return weight.reshape(self.groups, out, into, self.taps)
