"""The singular values of a layer's modes, the gates on them, and the weight rebuilt from what they let through.

Everything is float64 on the CPU. ``tensor`` is a canonical weight ``[groups, Co / groups, Ci / groups, taps]``; a mode
is an unfolding of it, whose singular values are those of every group.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rank_search.arrays import FloatArray
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.forms.spectra import unfolding
from rank_search.space.forms.tucker2 import Tucker2
from rank_search.space.layers.layer import Layer

Gates = tuple[Tensor, ...]
"""Per mode ``[groups, k]`` in [0, 1], by falling singular value."""


class ModeSpectra(ABC):
    """The analysis of one weight in one form.

    Attributes:
        bases: per mode the left singular vectors of its unfolding, ``[groups, m, k]``.
        values: per mode the singular values, ``[groups, k]``, falling.
    """

    bases: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    _core: Tensor

    @property
    @abstractmethod
    def energies(self) -> FloatArray:
        """What of ``||W||^2`` stands at every rank, ``[k]`` or ``[k1, k2]``: those of a corner are kept together."""

    @abstractmethod
    def rebuild(self, gates: Gates) -> Tensor:
        """The weight with every mode's components scaled by its gates."""

    @abstractmethod
    def weighed(self, weights: Tensor) -> Tensor:
        """The weight with every component of the core scaled, ``[k]`` or ``[k1, k2]``."""

    def moved(self, to: Callable[[Tensor], Tensor]) -> ModeSpectra:
        """The same with its bases and core on another device or in another precision."""
        other = copy.copy(self)
        other.bases, other._core = tuple(to(basis) for basis in self.bases), to(self._core)
        return other

    @staticmethod
    @abstractmethod
    def unfold(form: Decomposition, layer: Layer, tensor: Tensor) -> tuple[Tensor, ...]:
        """Per mode the unfolding ``[groups, m, n]`` whose left singular vectors are the mode's."""

    def lost(self) -> FloatArray:
        """``||W - What||^2 / ||W||^2`` of all ranks, one axis of ``k + 1`` per mode: the truncated HOSVD or SVD."""
        energies = self.energies
        kept = np.zeros(tuple(size + 1 for size in energies.shape))
        kept[(slice(1, None),) * energies.ndim] = energies
        for axis in range(energies.ndim):
            kept = kept.cumsum(axis)
        total = float(kept.flat[-1])
        lost: FloatArray = np.maximum(1 - kept / total, 0.0) if total > 0 else np.zeros_like(kept)
        return lost

    def gates(self, ranks: Sequence[int], soft: bool) -> Gates:
        """Gates that let so many components of every mode through.

        Hard: 1 for those kept, 0 for the others. Soft: ``max(0, 1 - tau / s)`` with the first dropped singular value as
        the threshold tau, the proximal map of the nuclear norm (docs/methods.md).
        """
        return tuple(_gates(values, rank, soft) for values, rank in zip(self.values, ranks, strict=True))

    def thresholds(self, ranks: Sequence[int]) -> list[float]:
        """Per mode the first dropped singular value, the greatest of the groups; 0 where none is dropped."""
        return [
            float(values[:, rank].max()) if rank < values.shape[1] else 0.0
            for values, rank in zip(self.values, ranks, strict=True)
        ]


class TuckerSpectra(ModeSpectra):
    """Tucker-2: output and input channels; the full core ``S = W x1 U1^T x2 U2^T``."""

    def __init__(self, form: Decomposition, layer: Layer, tensor: Tensor) -> None:
        self.bases, self.values = _analysed(self.unfold(form, layer, tensor))
        self._core = _both(tensor, *(basis.transpose(1, 2) for basis in self.bases))

    @staticmethod
    def unfold(form: Decomposition, layer: Layer, tensor: Tensor) -> tuple[Tensor, ...]:
        return unfolding(tensor, "out"), unfolding(tensor, "in")

    @property
    def energies(self) -> FloatArray:
        found: FloatArray = self._core.square().sum((0, 3)).numpy()
        return found

    def rebuild(self, gates: Gates) -> Tensor:
        out, into = (basis * gate[:, None, :] for basis, gate in zip(self.bases, gates, strict=True))
        return _both(self._core, out, into)

    def weighed(self, weights: Tensor) -> Tensor:
        return _both(self._core * weights[None, :, :, None], *self.bases)


class MatrixSpectra(ModeSpectra):
    """One mode: the singular values of the unfolding that the form cuts."""

    def __init__(self, form: Decomposition, layer: Layer, tensor: Tensor) -> None:
        assert isinstance(form, MatrixForm)
        self._form, self._layer = form, layer
        (matrix,) = self.unfold(form, layer, tensor)
        self.bases, self.values = _analysed((matrix,))
        self._core = self.bases[0].transpose(1, 2) @ matrix

    @staticmethod
    def unfold(form: Decomposition, layer: Layer, tensor: Tensor) -> tuple[Tensor, ...]:
        assert isinstance(form, MatrixForm)
        matrix = form.unfold(layer, tensor)
        return (matrix if matrix.shape[1] <= matrix.shape[2] else matrix.transpose(1, 2),)

    @property
    def energies(self) -> FloatArray:
        found: FloatArray = self.values[0].square().sum(0).numpy()
        return found

    def rebuild(self, gates: Gates) -> Tensor:
        return self._folded((self.bases[0] * gates[0][:, None, :]) @ self._core)

    def weighed(self, weights: Tensor) -> Tensor:
        return self._folded((self.bases[0] * weights) @ self._core)

    def _folded(self, matrix: Tensor) -> Tensor:
        rows, columns = self._form.sides(self._layer)
        return self._form.refold(self._layer, matrix if rows <= columns else matrix.transpose(1, 2))


def spectra_of(form: Decomposition) -> type[ModeSpectra] | None:
    """How the ranks of a form are gated; None for one whose ranks are no singular values of an unfolding."""
    if isinstance(form, Tucker2):
        return TuckerSpectra
    return MatrixSpectra if isinstance(form, MatrixForm) else None


def gate_gradients(bases: Sequence[Tensor], weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """``dloss/dg_j`` of gates at 1, per mode ``[groups, k]``.

    A gate scales its component of the unfolded weight, ``W_(k) = sum_j g_j p_j p_j^T W_(k)``, so that
    ``dloss/dg_j = p_j^T G_(k) W_(k)^T p_j``, which is ``s_j p_j^T G_(k) q_j`` for singular vectors of W itself.

    Args:
        bases: per mode ``[groups, m, k]``.
        weights, gradients: per mode the unfolded weight and gradient of the loss, ``[groups, m, n]``.
    """
    return [
        ((basis.transpose(1, 2) @ gradient) * (basis.transpose(1, 2) @ weight)).sum(2)
        for basis, weight, gradient in zip(bases, weights, gradients, strict=True)
    ]


def _gates(values: Tensor, rank: int, soft: bool) -> Tensor:
    kept = torch.arange(values.shape[1]) < rank
    if not soft or rank >= values.shape[1]:
        return kept.to(values.dtype).expand_as(values)
    threshold = values[:, rank : rank + 1]
    return torch.where(kept, 1 - threshold / values.clamp_min(torch.finfo(values.dtype).tiny), 0.0).clamp(0, 1)


def _analysed(matrices: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Left singular vectors and singular values of every matrix."""
    pairs = [_left(matrix) for matrix in matrices]
    return tuple(basis for basis, _ in pairs), tuple(values for _, values in pairs)


def _left(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """``[groups, m, k]`` and ``[groups, k]``; of a wide matrix from its Gram matrix, which is 5 to 50 times cheaper."""
    if matrices.shape[1] > matrices.shape[2]:
        basis, values, _ = torch.linalg.svd(matrices, full_matrices=False)
        return basis, values
    squares, vectors = np.linalg.eigh(np.stack([one.numpy() @ one.numpy().T for one in matrices]))
    values = torch.from_numpy(np.sqrt(np.maximum(squares[:, ::-1], 0.0)))
    return torch.from_numpy(vectors[:, :, ::-1].copy()), values


def _both(tensor: Tensor, out: Tensor, into: Tensor) -> Tensor:
    """``tensor x1 out x2 into`` per group: ``[groups, o, i, taps]``, ``[groups, o', o]`` and ``[groups, i', i]``."""
    groups, _, ins, taps = tensor.shape
    half = (out @ tensor.flatten(2)).reshape(groups, -1, ins, taps).transpose(1, 2)
    return (into @ half.flatten(2)).reshape(groups, into.shape[1], -1, taps).transpose(1, 2)
