"""Mending a batch norm that no refitted layer precedes."""

from __future__ import annotations

import torch
from torch import Tensor

from rank_search.space.layers.rows import channels_at, picked
from rank_search.task.repair.mender import ROWS, Inputs, Mended, Mender, Mismatch
from rank_search.task.repair.recalibration import BatchNorm, NormSums


class NormMender(Mender):
    """Sums of both networks' inputs of one batch norm; see :func:`recalibrate` for what it becomes.

    Args:
        norm: of the compressed network.
        original: of the dense one.
    """

    def __init__(self, name: str, calls: int, norm: BatchNorm, original: BatchNorm) -> None:
        super().__init__(name, calls)
        self._sums = NormSums(norm, original)
        self._wanted: list[tuple[torch.Size, tuple[Tensor, ...], Tensor]] = []

    def begin(self) -> None:
        super().begin()
        self._wanted = []

    def hear(self, given: Tensor, output: Tensor, inputs: Inputs) -> None:
        at = picked(tuple(given.shape[2:]), inputs.positions(len(given), ROWS))
        self._wanted.append((given.shape, at, _seen(given, at).clone()))

    def add(self, given: Tensor) -> None:
        shape, at, wanted = self._wanted[self.added]
        if given.shape != shape:
            raise Mismatch(f"{list(given.shape)} instead of {list(shape)}")
        self._sums.add(_seen(given, at), wanted)

    def finish(self) -> Mended | None:
        self._sums.mend()
        return None


def _seen(given: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    return given if given.ndim == 2 else channels_at(given, at)
