"""What searchers return, as plain Python values: numbers of NumPy and torch are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def plain(value: Any) -> Any:
    """JSON values: arrays and tensors become lists, those without dimensions and NumPy's scalars numbers.

    Raises:
        TypeError: for anything else that JSON does not know, and for keys that are no texts.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist()) if isinstance(value, np.ndarray) and value.dtype == object else value.tolist()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r}: keys are texts")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__}: use numbers, texts, lists, mappings, arrays or tensors")
