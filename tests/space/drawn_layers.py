"""Random layers with an input that fits them, for tests that must hold for every geometry."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rank_search.space.layer import Layer
from rank_search.space.trace import trace

every_geometry = settings(deadline=None, derandomize=True, max_examples=30)


@dataclass(frozen=True)
class DrawnLayer:
    """A convolution or linear layer, one sample for it, and its geometry as the trace of that sample has it."""

    module: nn.Conv2d | nn.Linear
    example: Tensor
    layer: Layer

    @property
    def bias_params(self) -> int:
        return 0 if self.module.bias is None else self.module.bias.numel()

    @classmethod
    def of(cls, module: nn.Conv2d | nn.Linear, example: Tensor) -> DrawnLayer:
        return cls(module, example, trace(nn.Sequential(module), example).layers["0"])


@st.composite
def convolutions(draw: st.DrawFn, pointwise: bool = False, channels: int = 7) -> DrawnLayer:
    """A ``Conv2d`` with any kernel (1x1 if and only if ``pointwise``), stride, padding, dilation and padding mode."""
    extents = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel = (1, 1) if pointwise else draw(extents.filter(lambda extent: extent != (1, 1)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    words = ["valid", "same"] if stride == (1, 1) else ["valid"]
    padding = draw(st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from(words)))
    size = []
    for axis in (0, 1):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        before = {"valid": 0, "same": span // 2}[padding] if isinstance(padding, str) else padding[axis]
        total = span - 1 if padding == "same" else 2 * before
        size.append(max(span - total, before + 1) + draw(st.integers(0, 4)))  # reflect pads less than the input
    torch.manual_seed(draw(st.integers(0, 10_000)))
    module = nn.Conv2d(
        draw(st.integers(1, channels)),
        draw(st.integers(1, channels)),
        kernel,
        stride,
        padding,
        dilation,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"])),
    )
    return DrawnLayer.of(module, torch.randn(1, module.in_channels, *size))


@st.composite
def linears(draw: st.DrawFn, features: int = 12) -> DrawnLayer:
    """A ``Linear`` fed with one vector, a row of tokens or a grid of tokens."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    module = nn.Linear(draw(st.integers(1, features)), draw(st.integers(1, features)), bias=draw(st.booleans()))
    tokens = draw(st.lists(st.integers(1, 5), max_size=2))
    return DrawnLayer.of(module, torch.randn(1, *tokens, module.in_features))
