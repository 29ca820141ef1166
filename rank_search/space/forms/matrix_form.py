"""Forms that cut one unfolding of the weight into two factors by a truncated SVD."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.forms import spectra
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight


class MatrixForm(Decomposition):
    """One rank R, the same for every group; ``e(R) = sum_{j > R} s_j^2`` (Eckart and Young, 1936), exact.

    Attributes:
        unfolding: names the unfolding; forms that use the same one share its spectra.
    """

    modes: ClassVar[tuple[str, ...]] = ("rank",)
    nested: ClassVar[tuple[str, ...]] = ("rank",)
    unfolding: ClassVar[str]

    @abstractmethod
    def sides(self, layer: Layer) -> tuple[int, int]:
        """Rows and columns of the unfolding of one group."""

    def unfold(self, layer: Layer, tensor: Tensor) -> Tensor:
        """``[groups, Co / groups, Ci / groups, taps]`` to ``[groups, rows, columns]``; output channels are the rows."""
        return tensor.flatten(2)

    def refold(self, layer: Layer, matrix: Tensor) -> Tensor:
        """The inverse of :meth:`unfold`."""
        return torch.unflatten(matrix, 2, (-1, layer.taps))

    @abstractmethod
    def fold(self, layer: Layer, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """``[groups, rows, R]`` and ``[groups, R, columns]`` to the first and the last factor."""

    def largest_ranks(self, layer: Layer) -> tuple[int, ...]:
        return (min(self.sides(layer)),)

    def candidates(self, layer: Layer) -> IntArray:
        return np.arange(1, self.largest_ranks(layer)[0] + 1, dtype=np.int64)[:, None]

    def feasible(self, layer: Layer, ranks: IntArray) -> NDArray[np.bool_]:
        return (ranks[:, 0] >= 1) & (ranks[:, 0] <= self.largest_ranks(layer)[0])

    def errors(self, weight: LayerWeight, ranks: IntArray) -> FloatArray:
        found = spectra.energies(weight, self.unfolding, lambda: self.unfold(weight.layer, weight.tensor))
        return spectra.tails(found.sum(0))[ranks[:, 0]]

    def factors(self, weight: LayerWeight, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        matrices = self.unfold(weight.layer, weight.tensor)
        bases = spectra.basis(weight, self.unfolding, lambda: matrices)
        first, last = self.fold(weight.layer, *spectra.split(matrices, bases, ranks[0]))
        return weight.unwhiten(first), last
