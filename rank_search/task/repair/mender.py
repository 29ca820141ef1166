"""What mends one module of a compressed network, from what the dense network has there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 2**14
"""Positions of all inputs together that are looked at for one layer: more change little (docs/results.md)."""

HELD_OUT = 4
"""Every fourth input is not fitted to: it says whether the fit is better."""


OTHERWISE = "the network does not call it as one sample did"
"""Why a layer was left."""


@dataclass(frozen=True)
class Mended:
    """What became of a layer.

    Args:
        before, after: ``E ||y - yhat||^2 / E ||y||^2`` on held-out inputs (centred where the layer has a bias, or a
            batch norm follows it); None if it was not measured.
        left: why the layer was left as it was; None if it was refitted.
    """

    before: float | None = None
    after: float | None = None
    left: str | None = None


@dataclass(frozen=True)
class Inputs:
    """Which inputs a batch holds.

    Args:
        first: the number of its first one.
        count: of the batch.
        total: of all batches.
    """

    first: int
    count: int
    total: int

    def positions(self, leading: int, rows: int) -> int:
        """How many positions of each entry along the first axis make so many rows in all."""
        return max(1, rows * self.count // (self.total * leading))

    def held_out(self, leading: int) -> Tensor:
        """Which entries along a first axis of this length belong to held-out inputs, ``[leading]``.

        An axis that does not hold so many entries for every input is counted itself.
        """
        place = torch.arange(leading)
        number = place * self.count // leading if leading % self.count == 0 else place
        return (self.first + number) % HELD_OUT == HELD_OUT - 1

    def axis(self, shape: Sequence[int]) -> int:
        """Which of these axes the inputs lie along: the first, unless only another one is as long as they are many."""
        if not shape or shape[0] % self.count == 0 or self.count not in shape:
            return 0
        return list(shape).index(self.count)


class Mismatch(Exception):
    """The compressed network calls a module in another way than the dense one."""


class Mender(ABC):
    """Args:
    name: of the module.
    calls: of it in a pass.
    """

    def __init__(self, name: str, calls: int) -> None:
        self.name, self.calls = name, calls
        self.heard = self.added = 0

    @abstractmethod
    def hear(self, given: Tensor, output: Tensor, inputs: Inputs) -> None:
        """A call of the dense module; all of a batch come before those of the compressed one."""

    @abstractmethod
    def add(self, given: Tensor) -> None:
        """The same call of the compressed module, not yet run.

        Raises:
            Mismatch: if it is given something of another shape.
        """

    @abstractmethod
    def finish(self) -> Mended | None:
        """Mends the module, after all batches."""

    def begin(self) -> None:
        """A new batch."""
        self.heard = self.added = 0
