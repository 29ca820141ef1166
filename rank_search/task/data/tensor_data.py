"""Any tensors as data: tables, text, sequences, pairs of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rank_search.errors import DataError
from rank_search.nests import Nest, check_nest, described, leaves, mapped
from rank_search.task.batch import Batch
from rank_search.task.data.data import Data, epoch_parts, parts_in_order
from rank_search.task.data.sampling import balanced_order, random_order

Pair = tuple[Nest, Nest]
"""Inputs and targets; targets may be None."""
MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class TensorSet:
    """Samples in memory.

    Args:
        inputs: a nest of tensors ``[N, ...]``, called as ``model(x)``, ``model(*xs)`` or ``model(**xs)``.
        targets: a nest of tensors ``[N, ...]``, or None.

    Raises:
        DataError: if something is no tensor, first dimensions differ, or there is no sample.
    """

    inputs: Nest
    targets: Nest = None

    def __post_init__(self) -> None:
        count = check_nest(self.inputs, "inputs", DataError)
        if count == 0:
            raise DataError(f"there are no samples (inputs {described(self.inputs)}); give at least one")
        if self.targets is not None and (given := check_nest(self.targets, "targets", DataError)) != count:
            raise DataError(
                f"there are {count} inputs ({described(self.inputs)}) and {given} targets "
                f"({described(self.targets)}); each sample needs one"
            )

    def __len__(self) -> int:
        return len(leaves(self.inputs)[0])

    def subset(self, n: int, seed: int) -> TensorSet:
        """A fixed random subset of ``n`` samples; where the targets are classes, equally many of each while they last.

        With one seed, a smaller subset is part of a larger one.

        Raises:
            DataError: if ``n`` is not positive, or the seed not from 0 to 2**32 - 1.
        """
        if n < 1:
            raise DataError(f"a subset of {n} samples was asked for; ask for at least 1")
        if n >= len(self):
            return self
        classes = self._classes()
        order = random_order(len(self), seed) if classes is None else balanced_order(classes, seed)
        return self.at(torch.from_numpy(np.sort(order[:n])))

    def at(self, indices: Tensor | slice) -> TensorSet:
        """The samples at these places."""

        def take(tensor: Tensor) -> Tensor:
            return tensor[indices.to(tensor.device) if isinstance(indices, Tensor) else indices]

        return TensorSet(mapped(self.inputs, take), None if self.targets is None else mapped(self.targets, take))

    def _classes(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
        """The targets, where they are one whole number a sample of few different values."""
        targets = self.targets
        if not isinstance(targets, Tensor) or targets.ndim != 1 or targets.is_floating_point() or targets.is_complex():
            return None
        labels = targets.cpu().numpy().astype(np.int64)
        return labels if len(np.unique(labels)) <= MOST_CLASSES else None


class TensorData(Data):
    """Data of any kind: nests of tensors in memory, batched by their first dimension.

    Args:
        train, validation: a pair ``(inputs, targets)`` each, or a :class:`TensorSet`; targets may be None.
        test: the same, or None.

    Raises:
        DataError: if a set is malformed, or the sets differ in what they hold.
    """

    train: TensorSet
    validation: TensorSet
    test: TensorSet | None

    def __init__(
        self, train: Pair | TensorSet, validation: Pair | TensorSet, test: Pair | TensorSet | None = None
    ) -> None:
        self.train, self.validation = _set("train", train), _set("validation", validation)
        self.test = None if test is None else _set("test", test)
        for name, other in (("validation", self.validation), ("test", self.test)):
            if other is not None:
                _check_alike(name, "inputs", other.inputs, self.train.inputs)
                _check_alike(name, "targets", other.targets, self.train.targets)

    def batches(self, samples: TensorSet, batch_size: int) -> Iterator[Batch]:
        parts = parts_in_order(len(samples), batch_size)
        return (self._batch(samples, part) for part in parts)

    def train_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        device = leaves(self.train.inputs)[0].device
        parts = epoch_parts(len(self.train), batch_size, generator, device)
        return (self._batch(self.train, part) for part in parts)

    def without_test(self) -> TensorData:
        return TensorData(self.train, self.validation)

    def fingerprint(self) -> tuple[list[str], list[Tensor]]:
        targets = [] if self.train.targets is None else leaves(self.train.targets)
        return ["tensors"], [*leaves(self.train.inputs), *targets]

    def __repr__(self) -> str:
        shapes = f"inputs {described(self.train.inputs)}"
        if self.train.targets is not None:
            shapes += f", targets {described(self.train.targets)}"
        sizes = ", ".join(
            f"{name}={len(samples)}"
            for name, samples in (("train", self.train), ("validation", self.validation), ("test", self.test))
            if samples is not None
        )
        return f"TensorData({sizes}; {shapes})"

    @staticmethod
    def _batch(samples: TensorSet, part: Tensor | slice) -> Batch:
        taken = samples.at(part)
        return Batch(taken.inputs, taken.targets)


def _set(name: str, given: Pair | TensorSet) -> TensorSet:
    if isinstance(given, TensorSet):
        return given
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise DataError(f"{name} is a {type(given).__name__}; give a pair (inputs, targets), targets may be None")
    try:
        return TensorSet(*given)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _check_alike(name: str, what: str, found: Nest, wanted: Nest) -> None:
    """Compares structure, dtypes and all dimensions but the first; sequences may be of another length."""
    if _kinds(found) != _kinds(wanted):
        raise DataError(
            f"{name} {what} are {_shown(found)} and train {what} {_shown(wanted)}; all sets must hold the same"
        )


def _kinds(nest: Nest) -> object:
    """What a nest holds: keys, dtypes and numbers of dimensions."""
    if nest is None:
        return None
    if isinstance(nest, Tensor):
        return (nest.dtype, nest.ndim)
    if isinstance(nest, Mapping):
        return {key: _kinds(value) for key, value in nest.items()}
    return [_kinds(value) for value in nest]


def _shown(nest: Nest) -> str:
    if nest is None:
        return "None"
    dtypes = ", ".join(dict.fromkeys(str(leaf.dtype).removeprefix("torch.") for leaf in leaves(nest)))
    return f"{described(nest)} of {dtypes}"
