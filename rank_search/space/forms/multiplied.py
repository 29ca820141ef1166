"""The dense weight that factors multiply out to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def multiplied(factors: Sequence[Tensor], groups: int) -> Tensor:
    """What: the canonical weight ``[groups, Co / groups, Ci / groups, taps]`` of factors in a row.

    A factor may have more groups than the layer (depthwise, groups of input channels); kernel axes that follow each
    other multiply to one, the later one changing fastest.
    """
    first, *others = factors
    parts = torch.unflatten(first, 0, (groups, -1))  # [groups, finer, out, in, taps]
    if parts.shape[1] > 1:
        eye = torch.eye(parts.shape[1], dtype=first.dtype, device=first.device)
        parts = torch.einsum("gkoit,kl->gkolit", parts, eye).flatten(3, 4)
    product = parts.flatten(1, 2)
    for factor in others:
        parts = torch.unflatten(factor, 0, (groups, -1))
        inner = torch.unflatten(product, 1, (parts.shape[1], parts.shape[3]))
        product = torch.einsum("gkomt,gkmis->gkoist", parts, inner).flatten(4, 5).flatten(1, 2)
    return product


def features_of(factors: Sequence[Tensor], groups: int) -> Tensor | None:
    """The rows of what the LAST factor is given, as products with the rows of the layer's input.

    Returns:
        ``[groups, features, Ci / groups * taps]``, the features in the order of the last factor's columns; None if the
        last factor has other groups than the layer.
    """
    last = factors[-1]
    if last.shape[0] != groups:
        return None
    inner, taps = last.shape[2:]
    eye = torch.eye(inner * taps, dtype=last.dtype).reshape(1, inner * taps, inner, taps)
    return multiplied([*factors[:-1], eye.expand(groups, -1, -1, -1)], groups).flatten(2)
