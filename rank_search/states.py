"""A state of nested plain values, arrays and tensors as one safetensors file: no pickle, whole after one rename."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rank_search.errors import InvalidInputError
from rank_search.files import read_tensors, write_tensors

_TENSOR, _ARRAY = "__tensor__", "__array__"


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a state atomically.

    Raises:
        TypeError: if it holds something that is neither plain JSON, an array nor a tensor; says where.
        StorageError: if the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    plain = _flatten(state, "", tensors)
    write_tensors(path, tensors or {"empty": torch.zeros(0)}, {"state": json.dumps(plain)})


def load_state(path: Path) -> dict[str, Any]:
    """Reads a state back.

    Raises:
        InvalidInputError: if the file is missing or not a state.
    """
    tensors, metadata = read_tensors(path)
    if "state" not in metadata:
        raise InvalidInputError(f"{path} is not a saved state")
    try:
        restored = _restore(json.loads(metadata["state"]), tensors)
    except (ValueError, KeyError, RecursionError) as error:
        raise InvalidInputError(f"{path} is a damaged state: {error}") from None
    if not isinstance(restored, dict):
        raise InvalidInputError(f"{path} is not a saved state")
    return restored


def _flatten(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor | np.ndarray):
        name = f"{len(tensors)}{where}"  # the place alone is not unique: a key may hold a slash
        tensors[name] = _as_tensor(value, where)
        return {_ARRAY if isinstance(value, np.ndarray) else _TENSOR: name}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the state holds the key {key!r} at {where or '/'}; JSON keys are text")
        return {key: _flatten(item, f"{where}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_flatten(item, f"{where}/{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"the state holds a {type(value).__name__} at {where or '/'}; use JSON values, arrays and tensors")


def _as_tensor(value: Tensor | np.ndarray[Any, Any], where: str) -> Tensor:
    """The value as a tensor that the file can hold."""
    kind = f"{value.dtype} array" if isinstance(value, np.ndarray) else f"{value.layout} {value.dtype} tensor"
    try:
        tensor = torch.from_numpy(np.array(value, order="C")) if isinstance(value, np.ndarray) else value
    except (TypeError, ValueError):
        raise TypeError(f"the state holds a {kind} at {where}; use booleans and numbers of this machine") from None
    if tensor.layout != torch.strided or tensor.dtype == torch.complex128:
        raise TypeError(f"the state holds a {kind} at {where}; use dense tensors, complex ones as complex64")
    return tensor


def _restore(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]]
        if set(value) == {_ARRAY}:
            return tensors[value[_ARRAY]].numpy()
        return {key: _restore(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_restore(item, tensors) for item in value]
    return value
