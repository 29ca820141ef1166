"""Training batches without end, epoch after epoch, that a restored search goes on with in mid-epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from rank_search.task.batch import Batch

if TYPE_CHECKING:
    from rank_search.task.oracles import Oracles
    from rank_search.task.task import Task


class BatchStream:
    """The task's metered batches; the order and augmentation of an epoch are drawn from the seed and its number.

    Args:
        task: with data.
        batch_size: samples per batch.
        seed: of all epochs.

    Attributes:
        drawn: batches so far; set it to go on from there.
        per_epoch: batches of an epoch.
    """

    def __init__(self, task: Oracles | Task, batch_size: int, seed: int) -> None:
        self._task, self._batch_size, self._seed = task, batch_size, seed
        self.per_epoch = max(1, math.ceil((task.epoch_samples - 1) / batch_size))
        self._batches: Iterator[Batch] | None = None
        self._drawn = 0

    @property
    def drawn(self) -> int:
        return self._drawn

    @drawn.setter
    def drawn(self, drawn: int) -> None:
        self._drawn, self._batches = drawn, None

    def next(self) -> Batch:
        """The next batch, where the task's model is.

        Raises:
            LimitReached: if it would pass a limit of the task.
        """
        epoch, done = divmod(self._drawn, self.per_epoch)
        if self._batches is None or not done:
            generator = torch.Generator().manual_seed(mixed_seed(self._seed, 0, epoch))
            self._batches = self._task.train_batches(generator, self._batch_size, skip=done)
        batch = next(self._batches)
        self._drawn += 1
        return batch.to(self._task.device)


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
