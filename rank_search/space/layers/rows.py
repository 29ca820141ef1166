"""What a layer is given and puts out, as rows of numbers: one row a position (pixel, token) of a sample."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.space.layers.layer import Layer

Conv = nn.modules.conv._ConvNd


def picked(extents: tuple[int, ...], most: int) -> tuple[Tensor, ...]:
    """Coordinates of at most so many positions, drawn once for these extents; all, in order, where there are no more.

    Returns:
        One tensor ``[positions]`` per axis.
    """
    total = prod(extents)
    if total <= most:
        chosen = torch.arange(total)
    else:
        chosen = torch.randperm(total, generator=torch.Generator().manual_seed(total))[:most].sort()[0]
    return tuple(torch.unravel_index(chosen, extents)) if extents else (chosen,)


def extents_of(layer: Layer, output: Tensor) -> tuple[int, ...]:
    """The positions of an output: every axis but the first and the channels'."""
    return tuple(output.shape[1:-1]) if layer.kind == "linear" else tuple(output.shape[2:])


def batched(layer: Layer, tensor: Tensor) -> Tensor:
    """With a first axis, where a convolution is called without one, or a linear layer with one vector."""
    return tensor[None] if tensor.ndim == (1 if layer.kind == "linear" else len(layer.kernel) + 1) else tensor


def output_rows(layer: Layer, output: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    """``[groups, N, positions, Co / groups]`` of an output ``[N, Co, ...]``, or ``[N, ..., Co]`` of a linear layer."""
    rows = _linear_rows(output, at) if layer.kind == "linear" else channels_at(output, at).movedim(1, 2)
    return torch.unflatten(rows, 2, (layer.groups, -1)).movedim(2, 0)


def input_rows(layer: Layer, module: nn.Module, given: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    """What the weight meets at these positions of the output: patches, or tokens.

    Args:
        layer: the geometry of ``module``.
        module: the dense layer.
        given: its input, ``[N, Ci, ...]``, or ``[N, ..., Ci]`` of a linear layer.
        at: the positions (see :func:`picked`).

    Returns:
        ``[groups, N, positions, Ci / groups * taps]``, in the order of ``layer.canonical(weight)``: the output there is
        its product with the rows of the weight, and the bias.
    """
    if isinstance(module, nn.Linear):
        return _linear_rows(given, at)[None]
    assert isinstance(module, Conv)
    taps = [torch.unravel_index(torch.tensor(tap), layer.kernel) for tap in range(layer.taps)]
    found = _transposed_taps(module, given, at, taps) if layer.transposed else _taps(module, given, at, taps)
    rows = torch.stack(found, dim=2)  # [N, Ci, taps, positions]
    return torch.unflatten(rows, 1, (layer.groups, -1)).permute(1, 0, 4, 2, 3).flatten(3)


def channels_at(tensor: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    """``[N, C, ...]`` to ``[N, C, positions]``."""
    index: Any = (slice(None), slice(None), *at)
    return tensor[index]


def _linear_rows(tensor: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    """``[N, ..., C]`` to ``[N, positions, C]``; one vector for each sample is one position."""
    index: Any = (slice(None), *at)
    return tensor[:, None] if tensor.ndim == 2 else tensor[index]


def _taps(module: Conv, given: Tensor, at: tuple[Tensor, ...], taps: list[tuple[Tensor, ...]]) -> list[Tensor]:
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = F.pad(given, module._reversed_padding_repeated_twice, mode=mode)
    strides, dilations = module.stride, module.dilation
    return [
        channels_at(padded, tuple(p * s + int(k) * d for p, k, s, d in zip(at, tap, strides, dilations, strict=True)))
        for tap in taps
    ]


def _transposed_taps(
    module: Conv, given: Tensor, at: tuple[Tensor, ...], taps: list[tuple[Tensor, ...]]
) -> list[Tensor]:
    """A transposed kernel puts input pixel p with tap k at ``p stride + k dilation - padding``."""
    found = []
    for tap in taps:
        inside = torch.ones(len(at[0]), dtype=torch.bool)
        places = []
        for axis, (place, step) in enumerate(zip(at, tap, strict=True)):
            padding, stride = module.padding[axis], module.stride[axis]
            assert isinstance(padding, int)
            shifted = place + padding - int(step) * module.dilation[axis]
            source = torch.div(shifted, stride, rounding_mode="floor")
            inside &= (shifted % stride == 0) & (source >= 0) & (source < given.shape[2 + axis])
            places.append(source.clamp(0, given.shape[2 + axis] - 1))
        found.append(channels_at(given, tuple(places)) * inside.to(given))
    return found
