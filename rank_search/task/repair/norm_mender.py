"""Mending a batch norm that no refitted layer precedes."""

from __future__ import annotations

import torch
from torch import Tensor

from rank_search.space.layers.rows import channels_at, picked
from rank_search.task.repair.mender import ROWS, Inputs, Mended, Mender, Mismatch
from rank_search.task.repair.recalibration import BatchNorm, mend


class NormMender(Mender):
    """Sums of both networks' inputs of one batch norm; see :func:`recalibrate` for what it becomes.

    Args:
        norm: of the compressed network.
        original: of the dense one.
    """

    def __init__(self, name: str, calls: int, norm: BatchNorm, original: BatchNorm) -> None:
        super().__init__(name, calls)
        self._norm, self._original = norm, original
        self._wanted: list[tuple[torch.Size, tuple[Tensor, ...], Tensor]] = []
        self._count = 0
        self._sums = torch.zeros(5, original.num_features, dtype=torch.float64)

    def begin(self) -> None:
        super().begin()
        self._wanted = []

    def hear(self, given: Tensor, output: Tensor, inputs: Inputs) -> None:
        at = picked(tuple(given.shape[2:]), inputs.positions(len(given), ROWS))
        self._wanted.append((given.shape, at, self._rows(given, at)))

    def add(self, given: Tensor) -> None:
        shape, at, d = self._wanted[self.added]
        if given.shape != shape:
            raise Mismatch(f"{list(given.shape)} instead of {list(shape)}")
        c = self._rows(given, at)
        d = d.to(c.device)
        sums = [c.sum(0), d.sum(0), (c * c).sum(0), (d * d).sum(0), (c * d).sum(0)]
        self._sums += torch.stack(sums).cpu().double()
        self._count += len(c)

    def finish(self) -> Mended | None:
        mean_c, mean_d, square_c, square_d, product = self._sums / self._count
        mend(
            self._norm,
            self._original,
            mean_c,
            mean_d,
            square_c - mean_c**2,
            square_d - mean_d**2,
            product - mean_c * mean_d,
        )
        return None

    def _rows(self, given: Tensor, at: tuple[Tensor, ...]) -> Tensor:
        """``[rows, channels]``, about the dense network's running mean."""
        rows = given if given.ndim == 2 else channels_at(given, at).movedim(1, 2).flatten(0, 1)
        rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        assert self._original.running_mean is not None
        return rows - self._original.running_mean.to(rows)
