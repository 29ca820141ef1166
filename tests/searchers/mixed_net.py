"""Networks of a few hundred weights with spectra that fall, and the options of their layers multiplied out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rank_search.space import Budget, RankSpace
from rank_search.space.layers.whitening import RIDGE
from rank_search.space.tables.options import LayerOptions

Floats = NDArray[np.float64]
FORMS = ("tucker2", "svd", "svd_channel", "svd_spatial", "svd_grouped", "tensor_train", "cp")
IMAGE = (1, 3, 8, 8)


class MixedNet(nn.Module):
    """A convolution, a strided one, one of two groups, a 1x1 one and a classifier, in float64.

    Args:
        widths: output channels of the convolutions; even.
        decays: per layer how fast the singular values of ``[Co, Ci kh kw]`` fall: the j-th by ``exp(-decay j)``.
    """

    def __init__(self, widths: Sequence[int] = (6, 8, 8, 6), decays: Sequence[float] = (0.2,) * 5) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.plain = nn.Conv2d(3, first, 3, padding=1)
        self.strided = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(second, third, 3, padding=1, groups=2)
        self.point = nn.Conv2d(third, fourth, 1)
        self.head = nn.Linear(fourth, 10)
        self.double()
        for layer, decay in zip((self.plain, self.strided, self.grouped, self.point, self.head), decays, strict=True):
            left, values, right = torch.linalg.svd(layer.weight.data.flatten(1), full_matrices=False)
            falling = values * torch.exp(-decay * torch.arange(len(values)))
            layer.weight.data = (left * falling @ right).reshape(layer.weight.shape)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.grouped(torch.relu(self.strided(torch.relu(self.plain(images))))))
        logits: Tensor = self.head(torch.relu(self.point(features)).mean((2, 3)))
        return logits


def mixed_net(seed: int = 0) -> MixedNet:
    """A network of random widths and decays."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MixedNet((2 * rng.integers(2, 7, 4)).tolist(), rng.uniform(0, 0.6, 5).tolist())


def mixed_space(net: nn.Module, forms: Any = FORMS, **options: Any) -> RankSpace:
    """The space of some forms; CP is offered few ranks, each of which is a fit."""
    if not isinstance(forms, Mapping):
        forms = {form: {"ranks": 5} if form == "cp" else {} for form in forms}
    return RankSpace.from_model(net, torch.zeros(IMAGE, dtype=torch.float64), forms, **options)


def columns_of(budget: Budget) -> list[int]:
    return [["params", "macs"].index(metric) for metric in budget.metrics]


def multiplied_out(options: LayerOptions, row: int) -> Tensor:
    """What of one option, ``[groups, Co / groups, Ci / groups, taps]``."""
    if row == 0:
        return options.weight.plain
    form, factors = options.forms[int(options.form[row])].name, options.factors(row)
    if form in ("tucker2", "tensor_train"):
        first, core, last = factors
        return torch.einsum("gbi,gabt,goa->goit", first[..., 0], core, last[..., 0])
    if form == "cp":
        first, taps, last = factors
        depthwise = taps.reshape(first.shape[0], first.shape[1], -1)
        return torch.einsum("gri,grt,gor->goit", first[..., 0], depthwise, last[..., 0])
    first, last = factors
    if form == "svd_spatial":
        return torch.einsum("grih,gorw->goihw", first, last).flatten(3)
    if form == "svd_grouped":
        groups, rank = options.choice(row).ranks
        parts = torch.unflatten(first, 0, (-1, groups))
        columns = torch.unflatten(last[..., 0], 2, (groups, rank))
        return torch.einsum("gkrct,gokr->gokct", parts, columns).flatten(2, 3)
    return torch.einsum("grit,gor->goit", first, last[..., 0])


def squared(options: LayerOptions, difference: Tensor, moment: Tensor | None = None) -> Tensor:
    """``||D||^2``, or ``sum D (M + ridge) D^T`` over taps with a second moment M ``[groups, Ci / g, Ci / g]``."""
    if moment is None:
        return difference.square().sum()
    ridge = RIDGE * moment.diagonal(dim1=1, dim2=2).mean()
    metric = moment + ridge * torch.eye(moment.shape[1], dtype=moment.dtype)
    return torch.einsum("goit,gij,gojt->", difference, metric, difference)


def block_of(options: LayerOptions, row: int) -> tuple[Any, ...]:
    """A name for the options that are nested in one another: dense alone, every CP alone."""
    choice = options.choice(row)
    if choice.form in ("svd_grouped", "tensor_train"):
        return choice.form, choice.ranks[0]
    return choice.form, choice.ranks if choice.form == "cp" else None


class Explicit:
    """The superposition of some options of a layer, from their weights.

    Args:
        options: of the layer.
        rows: the options.
        moment: of the layer's input, for errors of its output.
    """

    def __init__(self, options: LayerOptions, rows: Sequence[int], moment: Tensor | None = None) -> None:
        self._options, self._moment = options, moment
        self.weight = options.weight.plain
        self.whats = torch.stack([multiplied_out(options, int(row)) for row in rows])
        self.energy = squared(options, self.weight, moment)
        self.blocks: dict[tuple[Any, ...], list[int]] = {}
        for place, row in enumerate(rows):
            self.blocks.setdefault(block_of(options, int(row)), []).append(place)

    def whole(self, p: Tensor) -> Tensor:
        """``||W - sum_r p_r What_r||^2 / ||W||^2`` over all options."""
        return self._of(self.weight - torch.einsum("n,ngoit->goit", p, self.whats))

    def by_blocks(self, p: Tensor) -> Tensor:
        """``sum_b pi_b || W - sum_{r in b} (p_r / pi_b) What_r ||^2 / ||W||^2``."""
        total = torch.zeros((), dtype=torch.float64)
        for inside in self.blocks.values():
            mass = p[inside].sum()
            if float(mass.detach()) > 0:
                mixed = torch.einsum("n,ngoit->goit", p[inside] / mass, self.whats[inside])
                total = total + mass * self._of(self.weight - mixed)
        return total

    def _of(self, difference: Tensor) -> Tensor:
        return squared(self._options, difference, self._moment) / self.energy
