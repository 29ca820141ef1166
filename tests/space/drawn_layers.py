"""Random layers with an input that fits them, for tests that must hold for every geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rank_search.space.layers.factor_cache import FactorCache
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.layers.trace import trace
from rank_search.space.layers.whitening import Whitening

every_geometry = settings(deadline=None, derandomize=True, max_examples=60)
CONVOLUTIONS: tuple[type[nn.modules.conv._ConvNd], ...] = (nn.Conv2d, nn.Conv1d, nn.Conv3d, nn.ConvTranspose2d)
TWO_AXES = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class DrawnLayer:
    """A convolution or linear layer in float64, one sample for it, and its geometry as the trace has it."""

    module: nn.modules.conv._ConvNd | nn.Linear
    example: Tensor
    layer: Layer

    @property
    def bias_params(self) -> int:
        return 0 if self.module.bias is None else self.module.bias.numel()

    @classmethod
    def of(cls, module: nn.modules.conv._ConvNd | nn.Linear, example: Tensor) -> DrawnLayer:
        module, example = module.double(), example.double()
        return cls(module, example, trace(nn.Sequential(module), example).layers["0"])

    def weight(self, moment: Tensor | None = None, cache: FactorCache | None = None) -> LayerWeight:
        """The weight as the forms see it, in the metric of a second moment or in Frobenius'."""
        layer, whitening = self.layer, None
        if moment is not None:
            whitening = Whitening.of(layer.name, moment, layer.groups, layer.group_channels[1])
        return LayerWeight(layer, self.module.weight, cache, whitening)


@st.composite
def convolutions(
    draw: st.DrawFn,
    kinds: Sequence[type[nn.modules.conv._ConvNd]] = CONVOLUTIONS,
    kernel: str = "long",
    channels: int = 6,
) -> DrawnLayer:
    """A convolution with any groups, stride, padding, dilation, padding mode and output padding; never depthwise.

    Args:
        draw: of hypothesis.
        kinds: of which classes.
        kernel: ``"long"`` has several taps, ``"pointwise"`` one, ``"long on both axes"`` two or more along each.
        channels: in and out, at most, groups included.
    """
    kind = draw(st.sampled_from(kinds))
    transposed = kind is nn.ConvTranspose2d
    axes = {nn.Conv1d: 1, nn.Conv3d: 3}.get(kind, 2)
    longest = 2 if axes == 3 else 4

    def each(low: int, high: int) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(low, high)] * axes))

    if kernel == "pointwise":
        extents = (1,) * axes
    elif kernel == "long on both axes":
        extents = each(2, longest)
    else:
        extents = draw(st.tuples(*[st.integers(1, longest)] * axes).filter(lambda found: max(found) > 1))
    stride, dilation = draw(st.sampled_from([(1,) * axes, each(1, 3 if axes < 3 else 2)])), each(1, 2)
    words = ["valid", "same"] if set(stride) == {1} else ["valid"]
    padding: Any = each(0, 2)
    options: dict[str, Any] = {}
    if transposed:
        options["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
    else:
        padding = draw(st.sampled_from([padding, *words]))
        options["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"]))
    size = []
    for axis in range(axes):
        span = dilation[axis] * (extents[axis] - 1) + 1
        before = {"valid": 0, "same": span // 2}[padding] if isinstance(padding, str) else padding[axis]
        total = span - 1 if padding == "same" else 2 * before
        least = max(span - total, before + 1)  # reflect pads less than the input
        if transposed:
            missing = total + 1 - span - options["output_padding"][axis]  # the output has at least one pixel
            least = max(1, 1 + -(-missing // stride[axis]))
        size.append(least + draw(st.integers(0, 3 if axes < 3 else 1)))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    smallest = 1 if groups == 1 else 2  # a group of one input channel: depthwise
    into = groups * draw(st.integers(smallest, max(channels // groups, smallest)))
    out = groups * draw(st.integers(1, max(channels // groups, 1)))
    torch.manual_seed(draw(st.integers(0, 10_000)))
    module = kind(
        into,
        out,
        extents,  # type: ignore[arg-type]
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
        **options,
    )
    return DrawnLayer.of(module, torch.randn(1, into, *size))


@st.composite
def linears(draw: st.DrawFn, features: int = 12) -> DrawnLayer:
    """A ``Linear`` fed with one vector, a row of tokens or a grid of tokens."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    module = nn.Linear(draw(st.integers(1, features)), draw(st.integers(1, features)), bias=draw(st.booleans()))
    tokens = draw(st.lists(st.integers(1, 5), max_size=2))
    return DrawnLayer.of(module, torch.randn(1, *tokens, module.in_features))


def any_moment(layer: Layer, seed: int = 0, samples: int | None = None) -> Tensor:
    """A random second moment ``[groups, Ci / groups, Ci / groups]``; singular when there are few samples."""
    into = layer.group_channels[1]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(layer.groups, samples or 2 * into + 1, into, generator=generator, dtype=torch.float64)
    return drawn.transpose(1, 2) @ drawn / drawn.shape[1]
