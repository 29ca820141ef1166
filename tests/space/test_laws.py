"""Three laws of every network: full rank is the network, costs are what runs, and what is saved is what is loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn_layers import every_geometry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measured import params, relative_difference
from torch import Tensor, nn

import rank_search
from rank_search.nests import Nest, call
from rank_search.space import Choice, RankPlan, RankSpace
from rank_search.space.layers.counting import count_macs
from rank_search.space.layers.layer import Layer

some_networks = settings(every_geometry, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
FORMS = ("svd", "tucker2", "svd_channel", "svd_spatial", "tensor_train")
SIZE, LENGTH = 6, 5


class Called(nn.Module):
    """Calls a module in one of the ways that networks do."""

    def __init__(self, module: nn.Module, way: str) -> None:
        super().__init__()
        self.module, self.way = module, way

    def forward(self, x: Tensor) -> Any:
        if self.way == "keyword":
            return self.module(input=x)
        if self.way == "forward":
            return self.module.forward(x)
        if self.way == "twice":
            return self.module(x) + self.module(0.5 * x)
        if self.way == "parts":
            return self.module(x.repeat(2, *[1] * (x.ndim - 1)))[: len(x)]
        return self.module(x)


class Residual(nn.Module):
    """What it holds, added to its input, or beside what another branch makes of it."""

    def __init__(self, body: nn.Module, other: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.other = body, other or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.body(x) + self.other(x)
        return output


class UpAgain(nn.Module):
    """A strided convolution and a transposed one that is told where to return to."""

    def __init__(self, channels: int, kernel: int, stride: int, padding: int, groups: int, bias: bool) -> None:
        super().__init__()
        geometry = kernel, stride, padding
        self.down = nn.Conv2d(channels, 2 * channels, *geometry, bias=bias, groups=groups)
        self.up = nn.ConvTranspose2d(2 * channels, channels, *geometry, bias=bias, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.up(self.down(x), output_size=x.shape[-2:])
        return output


class Mixing(nn.Module):
    """Tokens of images, through a recurrent layer or attention."""

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.mixer: nn.Module = nn.MultiheadAttention(channels, 2, batch_first=True)
        else:
            recurrent = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
            self.mixer = recurrent(channels, channels, batch_first=True)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed = self.mixer(tokens, tokens, tokens)[0] if self.kind == "attention" else self.mixer(tokens)[0]
        output: Tensor = self.out(mixed).transpose(1, 2).reshape(x.shape)
        return output


class Fused(nn.Module):
    """Images, and perhaps vectors that are added to their channels; one output or several."""

    def __init__(self, blocks: nn.Module, channels: int, second: bool, several: bool) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = nn.Conv2d(3, channels, 3), blocks, nn.Linear(channels, 5)
        self.beside = nn.Linear(7, channels) if second else None
        self.several = several

    def forward(self, images: Tensor, vectors: Tensor | None = None) -> Any:
        x = self.stem(images)
        if self.beside is not None:
            x = x + self.beside(vectors)[:, :, None, None]
        pooled = self.blocks(x).mean((2, 3))
        return {"logits": self.head(pooled), "pooled": pooled} if self.several else self.head(pooled)


class Series(nn.Module):
    """A one-dimensional branch: channels along the rows of an image."""

    def __init__(self, convolution: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.convolution, self.back = convolution, back

    def forward(self, x: Tensor) -> Tensor:
        rows = self.convolution(x.mean(2))
        output: Tensor = x + self.back(rows.mean(2)).unsqueeze(-1).unsqueeze(-1)
        return output


def norms(channels: int) -> list[Callable[[], nn.Module]]:
    return [
        lambda: nn.BatchNorm2d(channels),
        lambda: nn.GroupNorm(2, channels),
        lambda: nn.GroupNorm(1, channels),
        lambda: nn.Identity(),
    ]


@st.composite
def blocks(draw: st.DrawFn, channels: int) -> Callable[[], nn.Module]:
    """How to make a block that keeps the shape ``[N, channels, H, W]``."""
    kind = draw(
        st.sampled_from(["plain", "residual", "bottleneck", "linear", "series", "up", "gru", "lstm", "attention"])
    )
    way = draw(st.sampled_from(["call", "call", "keyword", "forward", "twice", "parts"]))
    groups, bias = draw(st.sampled_from([1, 1, 2])), draw(st.booleans())
    norm = draw(st.sampled_from(norms(channels)))
    dilation, kernel = draw(st.integers(1, 2)), draw(st.sampled_from([1, 3]))
    stride, padding = draw(st.integers(1, 3)), draw(st.integers(0, 1))
    hook = draw(st.sampled_from([None, None, "keep", "double"]))

    def convolution() -> nn.Module:
        span = dilation * (kernel - 1) // 2
        made = nn.Conv2d(channels, channels, kernel, padding=span, dilation=dilation, groups=groups, bias=bias)
        return nn.Sequential(Called(made, way), norm(), nn.ReLU())

    def make() -> nn.Module:
        block: nn.Module
        if kind == "plain":
            block = convolution()
        elif kind == "residual":
            block = Residual(nn.Sequential(convolution(), convolution()), nn.Conv2d(channels, channels, 1))
        elif kind == "bottleneck":
            narrow = [nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, channels, 1)]
            block = Residual(nn.Sequential(*narrow))
        elif kind == "linear":
            maps = [nn.LayerNorm(SIZE), Called(nn.Linear(SIZE, SIZE, bias=bias), way), nn.GELU()]
            block = Residual(nn.Sequential(*maps))
        elif kind == "series":
            made = nn.Conv1d(channels, channels, kernel, stride=stride, padding=padding, groups=groups, bias=bias)
            block = Series(Called(made, way), nn.Linear(channels, channels))
        elif kind == "up":
            block = UpAgain(channels, max(kernel, stride), stride, padding, groups, bias)
        else:
            block = Mixing(kind, channels)
        if hook == "keep":
            block.register_forward_hook(lambda module, inputs, output: None)
        elif hook == "double":
            block.register_forward_hook(lambda module, inputs, output: 2 * output)
        return block

    return make


@st.composite
def networks(draw: st.DrawFn) -> tuple[Callable[[], nn.Module], Nest]:
    """How to make a network, and an example for it."""
    channels = draw(st.sampled_from([4, 6, 8]))
    makers = draw(st.lists(blocks(channels), min_size=1, max_size=4))
    second, several = draw(st.booleans()), draw(st.booleans())
    seed, samples = draw(st.integers(0, 10_000)), draw(st.integers(1, 3))
    shape = draw(st.sampled_from(["tuple", "mapping"])) if second else "tensor"

    def make() -> nn.Module:
        torch.manual_seed(seed)
        made = Fused(nn.Sequential(*[maker() for maker in makers]), channels, second, several)
        with torch.no_grad():
            for module in made.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_()  # type: ignore[union-attr]
                    module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        return made.eval()

    torch.manual_seed(seed + 1)
    images, vectors = torch.randn(samples, 3, SIZE + 2, SIZE + 2), torch.randn(samples, 7)
    example: Nest = {"tensor": images, "tuple": (images, vectors), "mapping": {"vectors": vectors, "images": images}}[
        shape
    ]
    return make, example


def outputs(model: nn.Module, example: Nest) -> list[Tensor]:
    with torch.no_grad():
        found = call(model, example)
    return list(found.values()) if isinstance(found, dict) else [found]


def full_rank(layer: Layer) -> Choice:
    """All singular values, or all channels that the kernel can tell apart."""
    out, into = layer.group_channels
    if layer.taps == 1:
        return Choice("svd", (min(out, into),))
    return Choice("tucker2", (min(out, into * layer.taps), min(into, out * layer.taps)))


def space_of(make: Callable[[], nn.Module], example: Nest) -> tuple[nn.Module, RankSpace]:
    """Stem and head are layers of every network: between them, every form has one."""
    model = make()
    space = RankSpace.from_model(model, example, forms=FORMS)
    assert {"stem", "head"} <= set(space.dense)
    return model, space


@some_networks
@given(networks())
def test_at_full_rank_every_network_is_itself(drawn: tuple[Callable[[], nn.Module], Nest]) -> None:
    make, example = drawn
    model, space = space_of(make, example)
    plan = RankPlan({table.layer.name: full_rank(table.layer) for table in space.layers})
    full = rank_search.compress(model, plan)
    assert rank_search.plan_of(full) == plan
    for found, wanted in zip(outputs(full, example), outputs(model, example), strict=True):
        assert relative_difference(found, wanted) < 1e-4


@some_networks
@given(networks(), st.integers(0, 10_000))
def test_the_cost_of_every_plan_is_what_its_network_holds_and_runs(
    drawn: tuple[Callable[[], nn.Module], Nest], seed: int
) -> None:
    make, example = drawn
    model, space = space_of(make, example)
    assert space.dense_cost == {"params": params(model), "macs": count_macs(model, example)}
    assert space.not_counted == ()
    rng = np.random.default_rng(seed)
    for _ in range(3):
        plan = space.decode(rng.random(space.width))
        small = space.compress(model, plan)
        assert space.cost(plan) == {"params": params(small), "macs": count_macs(small, example)}
        assert all(output.isfinite().all() for output in outputs(small, example))


@some_networks
@given(networks(), st.integers(0, 10_000))
def test_what_is_saved_and_loaded_is_the_network_bit_for_bit(
    drawn: tuple[Callable[[], nn.Module], Nest], seed: int
) -> None:
    make, example = drawn
    model, space = space_of(make, example)
    small = space.compress(model, space.decode(np.random.default_rng(seed).random(space.width)))
    with tempfile.TemporaryDirectory() as folder:
        back = rank_search.load(rank_search.save(small, Path(folder)), make)
    assert rank_search.plan_of(back) == rank_search.plan_of(small)
    for found, wanted in zip(outputs(back, example), outputs(small, example), strict=True):
        assert torch.equal(found, wanted)
