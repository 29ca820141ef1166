"""SVD of groups of input channels: a grouped convolution to k R channels, then 1x1 (docs/methods.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import InvalidInputError
from rank_search.space.forms import spectra
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.factor_shapes import FactorShape, Shapes, all_axes
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight


class SVDGrouped(Decomposition):
    """The input channels in k groups, each with a truncated SVD of rank R (ALDS, NeurIPS 2021: channel splits).

    ``e(k, R)`` is the sum of the groups' tails, exact and optimal. In the metric of an input covariance each group is
    cut in the metric of its own channels, which ignores how groups correlate; the error that is given measures them.

    Args:
        groups: the values of k that are offered; None offers every divisor of the layer's input channels.

    Raises:
        InvalidInputError: for a value below 1.
    """

    name: ClassVar[str] = "svd_grouped"
    modes: ClassVar[tuple[str, ...]] = ("groups", "rank")
    exempt: ClassVar[tuple[str, ...]] = ("groups",)
    nested: ClassVar[tuple[str, ...]] = ("rank",)

    def __init__(self, groups: Sequence[int] | None = None) -> None:
        if groups is not None and (isinstance(groups, str | int) or not len(groups)):
            raise InvalidInputError(f"svd_grouped groups={groups!r} is not allowed: give a list such as [2, 4]")
        for count in groups if groups is not None else ():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InvalidInputError(f"svd_grouped groups {count!r} is not allowed: give whole numbers from 1")
        self._groups = None if groups is None else tuple(sorted(set(groups)))

    def why_not(self, layer: Layer) -> str | None:
        if layer.kind == "linear":
            return "svd_grouped is for convolutions"
        if not self._offered(layer):
            wanted = ", ".join(map(str, self._groups or ()))
            return f"svd_grouped groups {wanted} do not divide the {layer.group_channels[1]} input channels"
        return None

    def largest_ranks(self, layer: Layer) -> tuple[int, ...]:
        out, into = layer.group_channels
        return into, min(out, into * layer.taps)

    def candidates(self, layer: Layer) -> IntArray:
        return np.array([(k, rank) for k in self._offered(layer) for rank in range(1, _largest(layer, k) + 1)])

    def feasible(self, layer: Layer, ranks: IntArray) -> NDArray[np.bool_]:
        (out, into), groups, rank = layer.group_channels, ranks[:, 0], ranks[:, 1]
        positive = (groups >= 1) & (rank >= 1)
        safe = np.maximum(groups, 1)
        result: NDArray[np.bool_] = positive & (into % safe == 0) & (rank <= np.minimum(out, into // safe * layer.taps))
        return result

    def why_infeasible(self, layer: Layer, ranks: tuple[int, ...]) -> str:
        groups, rank = ranks
        into = layer.group_channels[1]
        if into % groups:
            allowed = ", ".join(map(str, _divisors(into)))
            return f"svd_grouped groups {groups} do not divide its {into} input channels; allowed: {allowed}"
        return f"svd_grouped rank {rank} is above the largest with {groups} groups, {_largest(layer, groups)}"

    def factor_shapes(self, layer: Layer, ranks: IntArray) -> Shapes:
        groups, inner = ranks[:, 0] * layer.groups, ranks[:, 0] * ranks[:, 1] * layer.groups
        return (
            FactorShape(layer.in_channels, inner, groups, all_axes(layer)),
            FactorShape(inner, layer.out_channels, layer.groups),
        )

    def errors(self, weight: LayerWeight, ranks: IntArray) -> FloatArray:
        result = np.zeros(len(ranks))
        for groups in np.unique(ranks[:, 0]).tolist():
            rows = ranks[:, 0] == groups
            tails = _tails(weight, groups) if weight.whitening is None else _whitened_tails(weight, groups)
            result[rows] = tails[ranks[rows, 1]]
        return result

    def factors(self, weight: LayerWeight, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        groups, rank = ranks
        left, right = _cut(weight, groups, rank)
        last = torch.unflatten(left, 0, (-1, groups)).permute(0, 2, 1, 3).flatten(2)  # [g, Co / g, k R]
        return right, last.unsqueeze(3)

    def _offered(self, layer: Layer) -> list[int]:
        divisors = _divisors(layer.group_channels[1])
        return divisors if self._groups is None else [k for k in divisors if k in self._groups]


def _divisors(number: int) -> list[int]:
    return [k for k in range(1, number + 1) if number % k == 0]


def _largest(layer: Layer, groups: int) -> int:
    out, into = layer.group_channels
    return min(out, into // groups * layer.taps)


def _grouped(tensor: Tensor, groups: int) -> Tensor:
    """``[g, o, i, taps]`` to ``[g k, o, i / k, taps]``."""
    return torch.unflatten(tensor, 2, (groups, -1)).transpose(1, 2).flatten(0, 1)


def _name(groups: int) -> str:
    return "out" if groups == 1 else f"out{groups}"


def _tails(weight: LayerWeight, groups: int) -> FloatArray:
    def matrices() -> Iterator[Tensor]:
        for tensor in weight.tensor:
            for part in tensor.chunk(groups, dim=1):  # one by one: the copies are small
                yield part.flatten(1)

    return spectra.tails(spectra.energies(weight, _name(groups), matrices).sum(0))


def _cut(weight: LayerWeight, groups: int, rank: int) -> tuple[Tensor, Tensor]:
    """``[g k, o, R]`` and ``[g k, R, i / k, taps]``, each group cut in the metric of its own channels."""
    plain = _grouped(weight.plain, groups)
    if weight.whitening is None:
        metric, back = plain, None
    else:
        moment = weight.whitening.root @ weight.whitening.root
        size = plain.shape[2]
        blocks = moment.reshape(-1, groups, size, groups, size).diagonal(dim1=1, dim2=3)  # [g, i / k, i / k, k]
        blocks = blocks.permute(0, 3, 1, 2).flatten(0, 1)
        root = torch.linalg.cholesky(blocks)
        metric, back = torch.einsum("boit,bij->bojt", plain, root), torch.linalg.inv(root)
    matrices = metric.flatten(2)
    name = f"{_name(groups)}.own" if back is not None else _name(groups)
    left, right = spectra.split(matrices, spectra.basis(weight, name, lambda: matrices), rank)
    right = torch.unflatten(right, 2, (-1, weight.layer.taps))
    return left, right if back is None else torch.einsum("brjt,bji->brit", right, back)


def _whitened_tails(weight: LayerWeight, groups: int) -> FloatArray:
    """``||(W - What) root||^2`` for R = 0 .. m, correlations between the groups included."""

    def compute() -> dict[str, Tensor]:
        assert weight.whitening is not None
        largest = _largest(weight.layer, groups)
        left, right = (torch.unflatten(part, 0, (-1, groups)) for part in _cut(weight, groups, largest))
        moments = weight.whitening.root @ weight.whitening.root
        total = torch.zeros(largest, largest, dtype=torch.float64)
        for mine, his, moment in zip(left, right, moments, strict=True):
            products = torch.zeros(groups, largest, groups, largest, dtype=torch.float64)
            for tap in his.unbind(3):  # [k, R, i / k]
                seen = torch.einsum("krc,kcd->krd", tap, torch.unflatten(moment, 0, (groups, -1)))
                products += torch.einsum("krlc,lsc->krls", torch.unflatten(seen, 2, (groups, -1)), tap)
            total += (torch.einsum("kor,los->krls", mine, mine) * products).sum((0, 2))
        # total[a, b] sums <component a, component b>; those that are cut off are the corner a, b >= R
        corner = total.flip(0, 1).cumsum(0).cumsum(1).diagonal().flip(0)
        return {"tails": torch.cat([corner, corner.new_zeros(1)]).clamp_min(0)}

    return weight.part(f"{_name(groups)}.tails", compute)["tails"].numpy()
