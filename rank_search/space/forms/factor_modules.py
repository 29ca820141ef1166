"""The layers that factors become: of the dense layer's own class, so that they run and export wherever it does."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from rank_search.space.layers.layer import KINDS

Conv = nn.modules.conv._ConvNd


def pointwise(like: nn.Module, into: int, out: int, groups: int = 1, bias: bool = False) -> nn.Module:
    """A 1x1 convolution as ``like`` has axes (a linear layer for a linear one), weight on the meta device."""
    if isinstance(like, nn.Linear):
        return nn.Linear(into, out, bias=bias, device="meta")
    assert isinstance(like, Conv)
    plain = nn.Conv2d if isinstance(like, nn.ConvTranspose2d) else type(like)
    return _bare(plain, into, out, 1, groups=groups, bias=bias)


def kernel(like: nn.Module, into: int, out: int, groups: int, bias: bool, axes: Collection[int]) -> nn.Module:
    """A convolution with the kernel, stride, padding and dilation of ``like``, weight on the meta device.

    Args:
        like: the dense convolution; its own groups and channels do not matter.
        into, out, groups, bias: of the new one.
        axes: the geometry of these kernel axes is taken, the others get extent 1.
    """
    assert isinstance(like, Conv)

    def along(values: Any, neutral: int) -> Any:
        if isinstance(values, str):  # "same" and "valid" mean the right thing on every axis
            return values
        return tuple(value if i in axes else neutral for i, value in enumerate(values))

    options: dict[str, Any] = {
        "stride": along(like.stride, 1),
        "padding": along(like.padding, 0),
        "dilation": along(like.dilation, 1),
        "padding_mode": like.padding_mode,
        "groups": groups,
        "bias": bias,
    }
    if like.transposed:
        options["output_padding"] = along(like.output_padding, 0)
    return _bare(type(like), into, out, along(like.kernel_size, 1), **options)


def weight_for(module: nn.Module, factor: Tensor) -> Tensor:
    """A factor ``[groups, out / groups, in / groups, taps]`` in the layout of the module's weight."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    ordered = factor.transpose(1, 2) if isinstance(module, nn.ConvTranspose2d) else factor
    return ordered.reshape(weight.shape)


def has_bias(module: nn.Module) -> bool:
    """Whether the dense layer has a bias, which the last factor then carries."""
    return getattr(module, "bias", None) is not None


def _bare(kind: type[Conv], *arguments: Any, **options: Any) -> nn.Module:
    """A convolution whose initialisation, which takes most of its making, is left out."""
    module: nn.Module = _UNINITIALISED[kind](*arguments, **options, device="meta")
    module.__class__ = kind  # from here on a plain one, for export and for whoever asks its type
    return module


_UNINITIALISED: dict[type[nn.Module], type[Any]] = {
    kind: type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})
    for kind in KINDS
    if kind is not nn.Linear
}
