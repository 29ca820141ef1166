"""What a data set must say of itself: three sets of samples, and how they become batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from rank_search.errors import DataError
from rank_search.nests import Nest, mapped
from rank_search.task.batch import Batch


class Samples(Protocol):
    """One set of samples."""

    def __len__(self) -> int:
        """How many there are, at least 1."""

    def subset(self, n: int, seed: int) -> Any:
        """A fixed random subset of ``n`` samples; all of them if ``n >= len``."""


class Data(ABC):
    """Sets of samples and how they become batches. All randomness comes from the generator that a method is given.

    Attributes:
        train, validation: the sets that a search may use.
        test: the set that only the final measurement may use, or None.
    """

    train: Any
    validation: Any
    test: Any

    @abstractmethod
    def batches(self, samples: Any, batch_size: int) -> Iterator[Batch]:
        """A set in its order, as the network takes it; the last batch may be smaller.

        Raises:
            DataError: if ``batch_size`` is less than 1.
        """

    @abstractmethod
    def train_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch: every training sample once, shuffled (and augmented), in batches of at least 2.

        Raises:
            DataError: if ``batch_size`` or the training set is less than 2.
        """

    @abstractmethod
    def without_test(self) -> Data:
        """The same data, from which a searcher cannot reach the test set."""

    @abstractmethod
    def fingerprint(self) -> tuple[list[str], list[Tensor]]:
        """All that a training depends on: texts and tensors."""

    def example(self) -> Nest:
        """One sample as the network takes it, all zeros."""
        inputs = next(iter(self.batches(self.train.subset(1, seed=0), 1))).inputs
        return mapped(inputs, torch.zeros_like)


def epoch_parts(count: int, batch_size: int, generator: torch.Generator, device: torch.device) -> Sequence[Tensor]:
    """Indices of the batches of one epoch: all samples in a random order.

    A single sample that would be left over joins the batch before it, for batch norm cannot train on one.

    Raises:
        DataError: if ``batch_size`` or ``count`` is less than 2.
    """
    if batch_size < 2 or count < 2:
        raise DataError(
            f"cannot train on batches of {batch_size} from {count} samples; batch norm needs at least 2 in a batch"
        )
    order = torch.randperm(count, generator=generator, device=generator.device).to(device)
    starts = list(range(0, count, batch_size))
    if count - starts[-1] == 1:
        starts.pop()
    return [order[start:end] for start, end in zip(starts, [*starts[1:], count], strict=True)]


def parts_in_order(count: int, batch_size: int) -> list[slice]:
    """Slices of a set in its order.

    Raises:
        DataError: if ``batch_size`` is less than 1.
    """
    if batch_size < 1:
        raise DataError(f"the batch size is {batch_size}; it must be at least 1")
    return [slice(start, start + batch_size) for start in range(0, count, batch_size)]
