"""The module that replaces a decomposed layer: plain convolutions or linear maps in a row, so that it exports."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rank_search.space.forms.factor_modules import weight_for
from rank_search.space.plan import Choice


class LowRank(nn.Sequential):
    """A factorised layer; no nonlinearity between factors, the bias in the last one.

    Args:
        choice: the form and ranks, from which the plan of a compressed network is read back.
        factors: convolutions or linear layers in the order they run.
    """

    def __init__(self, choice: Choice, factors: Sequence[nn.Module]) -> None:
        super().__init__(*factors)
        self.choice = choice

    def fill(self, factors: Sequence[Tensor], like: nn.Module) -> None:
        """Gives every layer its weight (cast to the dense layer's dtype and device) and the last one the bias.

        Args:
            factors: ``[groups, out / groups, in / groups, taps]`` each, in the order the layers run.
            like: the dense layer.
        """
        dense = like.weight
        assert isinstance(dense, Tensor)
        for module, factor in zip(self, factors, strict=True):
            value = weight_for(module, factor).to(dtype=dense.dtype, device=dense.device).contiguous()
            module.weight = nn.Parameter(value.clone() if value.data_ptr() == factor.data_ptr() else value)
        bias = like.bias
        if isinstance(bias, Tensor):
            self[-1].bias = nn.Parameter(bias.detach().clone())
