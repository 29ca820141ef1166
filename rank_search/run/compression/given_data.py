"""What a caller may give as data: nests of tensors or arrays, pairs with targets, loaders."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rank_search.errors import DataError, InvalidInputError
from rank_search.nests import Nest, check_nest, leaves, mapped
from rank_search.run.compression.defaults import VALIDATION, is_classes
from rank_search.task import Data, TensorData
from rank_search.task.data.sampling import random_order


def given_data(given: Any, seed: int, judged: bool) -> Data | None:
    """The data of a compression; a fifth of the inputs is held out.

    Args:
        given: a :class:`Data`, or None; inputs ``[N, ...]``, tensors or NumPy arrays in any nest; a pair of inputs and
            targets, which it is if the second is class numbers, or if it is ``judged`` by an objective; or a
            ``DataLoader`` of any of these, which is read once and held in memory.
        seed: of the choice.
        judged: whether an objective was named.

    Raises:
        InvalidInputError: for anything else, or too few inputs.
    """
    if given is None or isinstance(given, Data):
        return given
    found = _read(given) if isinstance(given, DataLoader) else _tensors(given)
    labelled = isinstance(found, tuple | list) and len(found) == 2 and (judged or is_classes(found[1]))
    inputs, targets = found if labelled else (found, None)
    count = check_nest(inputs, "data")
    if targets is not None and check_nest(targets, "targets") != count:
        raise InvalidInputError(f"data has {count} inputs and {check_nest(targets, 'targets')} targets: one for each")
    held_out = round(VALIDATION * count)
    if held_out < 1 or count - held_out < 2:
        raise InvalidInputError(f"data has {count} inputs; give at least 3, of which a fifth is held out")
    order = random_order(count, seed)

    def at(places: Any) -> tuple[Nest, Nest]:
        def take(tensor: Tensor) -> Tensor:
            return tensor.detach()[sorted(places.tolist())]

        return mapped(inputs, take), None if targets is None else mapped(targets, take)

    return TensorData(at(order[held_out:]), at(order[:held_out]))


def _tensors(given: Any) -> Nest:
    """The same nest, its arrays as tensors."""
    if isinstance(given, np.ndarray):
        try:
            return torch.from_numpy(np.ascontiguousarray(given))
        except TypeError:
            raise DataError(f"data holds an array of {given.dtype}: give one of numbers") from None
    if isinstance(given, dict):
        return {key: _tensors(value) for key, value in given.items()}
    if isinstance(given, list) or type(given) is tuple:
        return type(given)(_tensors(value) for value in given)
    return given


def _read(loader: DataLoader[Any]) -> Nest:
    """All batches of a loader, joined."""
    batches = [_tensors(batch) for batch in loader]
    if not batches:
        raise DataError("the DataLoader has no batch: give at least 3 inputs")
    for batch in batches:
        check_nest(batch, "a batch of the DataLoader")
    columns = [leaves(batch) for batch in batches]
    if len({len(column) for column in columns}) > 1:
        raise DataError("batches of the DataLoader hold different numbers of tensors: each must be built alike")
    try:
        joined = iter([torch.cat(parts) for parts in zip(*columns, strict=True)])
    except RuntimeError as error:
        raise DataError(f"batches of the DataLoader cannot be joined: {' '.join(str(error).split())}") from None
    return mapped(batches[0], lambda _: next(joined))
