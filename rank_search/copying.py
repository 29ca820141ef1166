"""Copying networks, those among them that hold what ``copy.deepcopy`` refuses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from rank_search.errors import InvalidInputError, told
from rank_search.nests import held


def copy_network(model: nn.Module, memo: Mapping[int, Any] | None = None) -> nn.Module:
    """A copy of the network; tensors with a history (an activation that it keeps, a computed weight) lose it there.

    Args:
        model: left as it was.
        memo: as of ``copy.deepcopy``: what stands in the copy for the object of that ``id``.

    Raises:
        InvalidInputError: if the network cannot be copied.
    """
    known = dict(memo or {})
    for tensor in _computed(model):
        known.setdefault(id(tensor), tensor.detach().clone())
    try:
        return copy.deepcopy(model, known)
    except Exception as error:
        raise InvalidInputError(
            f"{type(model).__name__} cannot be copied, and compression works on a copy: {told(error)}"
        ) from error


def _computed(model: nn.Module) -> list[Tensor]:
    """Tensors with a history that modules hold as plain attributes, alone or in lists and mappings."""
    values = (value for module in model.modules() for value in held(vars(module), depth=4))
    return [tensor for tensor in values if tensor.grad_fn is not None]
