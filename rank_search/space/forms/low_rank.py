"""The module that replaces a decomposed layer: plain convolutions or linear maps in a row, so that it exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rank_search.space.forms.absent_weight import AbsentWeight
from rank_search.space.forms.factor_modules import weight_for
from rank_search.space.plan import Choice

GEOMETRY = (
    *("in_features", "out_features", "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation"),
    *("groups", "padding_mode", "transposed", "output_padding"),
)
"""What a network may ask of a layer, and of what replaced it."""


class LowRank(nn.Sequential):
    """A factorised layer; no nonlinearity between factors, the bias in the last one.

    It is called as the dense layer is and answers what is harmless to ask of one: its geometry, its bias, and of its
    weight the shape, dtype and device. Values of the dense weight it has none (:class:`AbsentWeight`).

    Args:
        choice: the form and ranks, from which the plan of a compressed network is read back.
        factors: convolutions or linear layers in the order they run.
        like: the dense layer, for what is asked of it; None answers nothing.
    """

    __jit_unused_properties__ = ("weight", "bias")

    def __init__(self, choice: Choice, factors: Sequence[nn.Module], like: nn.Module | None = None) -> None:
        super().__init__(*factors)
        self.choice = choice
        self._asked = False
        self._dense_shape: tuple[int, ...] | None = None
        if like is not None:
            assert isinstance(like.weight, Tensor)
            self._dense_shape = tuple(like.weight.shape)
            for name in GEOMETRY:
                if hasattr(like, name):
                    setattr(self, name, getattr(like, name))

    @property
    def weight(self) -> AbsentWeight:
        """What may be asked of the dense weight: no values.

        Raises:
            AbsentWeightError: when something is computed with it.
        """
        if self._dense_shape is None:
            raise AttributeError(f"{self.choice} has no weight of its own: its factors have")
        factor = self[0].weight
        assert isinstance(factor, Tensor)
        return AbsentWeight(self._dense_shape, factor, self._read)

    @property
    def bias(self) -> Any:
        """The dense layer's bias, which the last factor has."""
        return self[-1].bias

    @property
    def weight_was_read(self) -> bool:
        """Whether something tried to compute with the dense weight."""
        return self._asked

    def _read(self) -> None:
        self._asked = True

    def fill(self, factors: Sequence[Tensor], like: nn.Module) -> None:
        """Gives every layer its weight (cast to the dense layer's dtype and device) and the last one the bias.

        What is frozen stays frozen: factors need gradients where the dense weight does, the bias where its own does.

        Args:
            factors: ``[groups, out / groups, in / groups, taps]`` each, in the order the layers run.
            like: the dense layer.
        """
        dense = like.weight
        assert isinstance(dense, Tensor)
        for module, factor in zip(self, factors, strict=True):
            value = weight_for(module, factor).to(dtype=dense.dtype, device=dense.device).contiguous()
            value = value.clone() if value.data_ptr() == factor.data_ptr() else value
            module.weight = nn.Parameter(value, requires_grad=dense.requires_grad)
        bias = like.bias
        if isinstance(bias, Tensor):
            self[-1].bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)

    def freeze_like(self, like: nn.Module) -> None:
        """Makes the factors and the bias need gradients where the dense layer's weight and bias do."""
        dense, bias = like.weight, like.bias
        assert isinstance(dense, Tensor)
        for module in self:
            assert isinstance(module.weight, Tensor)
            module.weight.requires_grad_(dense.requires_grad)
        if isinstance(bias, Tensor):
            self.bias.requires_grad_(bias.requires_grad)


class LowRankTransposed(LowRank):
    """The same for a transposed convolution, which may be called with the size of its output."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The factors one after another.

        Args:
            input: as of the dense layer.
            output_size: of a transposed convolution, as there.
        """
        if output_size is not None:
            return self._sized(input, output_size)
        for module in self:
            input = module(input)
        return input

    def _sized(self, input: Tensor, output_size: list[int]) -> Tensor:
        for module in self:
            if isinstance(module, nn.ConvTranspose2d):
                wanted = list(output_size)[-len(module.kernel_size) :]
                has = zip(module.kernel_size, module.stride, module.padding, module.dilation, strict=True)
                extents = input.shape[-len(wanted) :]
                sizes = [
                    extent if geometry == (1, 1, 0, 1) else size
                    for size, extent, geometry in zip(wanted, extents, has, strict=True)
                ]  # an axis that another factor has keeps its extent here
                input = module(input, output_size=sizes)
            else:
                input = module(input)
        return input


def low_rank(choice: Choice, factors: Sequence[nn.Module], like: nn.Module) -> LowRank:
    """The module for a dense layer (see :class:`LowRank`)."""
    kind = LowRankTransposed if isinstance(like, nn.ConvTranspose2d) else LowRank
    return kind(choice, factors, like)
