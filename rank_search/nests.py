"""Nests of tensors: what networks are given and put out. A tensor, or tuples, lists and mappings of nests.

A network is called by the nest's own shape: ``model(x)``, ``model(*xs)`` for a tuple or list, ``model(**xs)`` for a
mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import InvalidInputError

Nest = Any
"""A tensor, or a tuple, list or mapping of nests."""


def call(model: nn.Module, inputs: Nest) -> Any:
    """Runs the network on a nest: one tensor, arguments in their order, or arguments by name."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


def mapped(nest: Nest, function: Callable[[Tensor], Tensor]) -> Nest:
    """The same nest with the function applied to every tensor."""
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, Mapping):
        return {key: mapped(value, function) for key, value in nest.items()}
    items = [mapped(value, function) for value in nest]
    if isinstance(nest, tuple):
        return type(nest)(*items) if hasattr(nest, "_fields") else tuple(items)
    return items


def leaves(nest: Nest) -> list[Tensor]:
    """All tensors of a nest, in order."""
    if isinstance(nest, Tensor):
        return [nest]
    found: list[Tensor] = []
    for value in nest.values() if isinstance(nest, Mapping) else nest:
        found += leaves(value)
    return found


def held(
    value: Any,
    kinds: tuple[type[Any], ...] = (Tensor,),
    inside: Callable[[Any], bool] = lambda value: False,
    depth: int = 8,
) -> Iterator[Any]:
    """Everything of these kinds in any value: itself, or in mappings, lists and tuples, however nested.

    Args:
        value: anything.
        kinds: what is looked for.
        inside: of which other objects the attributes are looked at.
        depth: how deep at the most.
    """
    if isinstance(value, kinds):
        yield value
        return
    items: Iterable[Any] = ()
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, list | tuple):
        items = value
    elif inside(value):
        items = vars(value).values()
    if depth:
        for item in items:
            yield from held(item, kinds, inside, depth - 1)


def moved(nest: Nest, device: torch.device) -> Nest:
    """The nest on a device."""
    if isinstance(nest, Tensor):
        return nest.to(device)
    return mapped(nest, lambda tensor: tensor.to(device))


def described(nest: Nest) -> str:
    """The shapes of a nest, for messages."""
    if isinstance(nest, Tensor):
        return str(list(nest.shape))
    if isinstance(nest, Mapping):
        return "{" + ", ".join(f"{key}: {described(value)}" for key, value in nest.items()) + "}"
    if isinstance(nest, tuple | list):
        return "(" + ", ".join(described(value) for value in nest) + ")"
    return f"a {type(nest).__name__}"


def check_nest(nest: Nest, what: str, error: type[InvalidInputError] = InvalidInputError) -> int:
    """The number of samples: the first dimension that all tensors of the nest share.

    Raises:
        InvalidInputError: of the class ``error``, if something is no tensor, there is none, or first dimensions differ.
    """
    _check_kinds(nest, what, error)
    tensors = leaves(nest)
    if not tensors:
        raise error(f"{what} holds no tensor: give a tensor, or a tuple or mapping of tensors")
    if any(not tensor.ndim for tensor in tensors):
        raise error(
            f"{what} has the shapes {described(nest)}: every tensor needs a first dimension, of at least 1 sample"
        )
    counts = {len(tensor) for tensor in tensors}
    if len(counts) > 1:
        raise error(f"{what} has the shapes {described(nest)}: the first dimensions, the samples, must be equal")
    return counts.pop()


def _check_kinds(nest: Nest, what: str, error: type[InvalidInputError]) -> None:
    if isinstance(nest, Tensor):
        return
    if isinstance(nest, Mapping):
        for key in nest:
            if not isinstance(key, str):
                raise error(f"{what} has the key {key!r}: a network is called with names, which are texts")
        values = list(nest.values())
    elif isinstance(nest, tuple | list):
        values = list(nest)
    else:
        raise error(f"{what} holds a {type(nest).__name__}: give a tensor, or a tuple or mapping of tensors")
    for value in values:
        _check_kinds(value, what, error)


def filled(nest: Nest, count: int) -> Nest:
    """So many samples of inputs ``[N, ...]``: the first ones, over and over where there are fewer."""
    rows = torch.arange(count) % check_nest(nest, "the example")
    return mapped(nest, lambda tensor: tensor[rows.to(tensor.device)])
