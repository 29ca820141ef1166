"""The module that replaces a decomposed layer: plain convolutions or linear maps in a row, so that it exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.space.plan import Choice


class LowRank(nn.Sequential):
    """A factorised layer; no nonlinearity between factors, the bias in the last one.

    Args:
        choice: the form and ranks, from which the plan of a compressed network is read back.
        factors: ``nn.Conv2d`` or ``nn.Linear`` modules in the order they run.
    """

    def __init__(self, choice: Choice, factors: Sequence[nn.Module]) -> None:
        super().__init__(*factors)
        self.choice = choice

    def fill(self, weights: Sequence[Tensor], like: nn.Module) -> None:
        """Gives every factor its weight (cast to the dense layer's dtype and device) and the last one the bias."""
        dense = like.weight
        assert isinstance(dense, Tensor)
        for factor, weight in zip(self, weights, strict=True):
            value = weight.to(dtype=dense.dtype, device=dense.device).reshape(factor.weight.shape).contiguous()  # type: ignore[arg-type]
            factor.weight = nn.Parameter(value.clone() if value.data_ptr() == weight.data_ptr() else value)
        bias = like.bias
        if isinstance(bias, Tensor):
            self[-1].bias = nn.Parameter(bias.detach().clone())


def bare_conv(*arguments: Any, **options: Any) -> nn.Conv2d:
    """An ``nn.Conv2d`` on the meta device whose initialisation, which takes most of its making, is left out."""
    conv: nn.Conv2d = _BareConv2d(*arguments, **{**options, "device": torch.device("meta")})
    conv.__class__ = nn.Conv2d  # from here on a plain one, for export and for whoever asks its type
    return conv


class _BareConv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Nothing: the weights are given next."""
