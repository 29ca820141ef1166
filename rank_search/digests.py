"""Digests of tensors and arrays: whether two are the same to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def digest_of(values: Iterable[Tensor | np.ndarray[Any, Any]]) -> str:
    """One digest of all values, their dtypes and shapes, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """The digest of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of_text(value: Any) -> str:
    """The digest of what a value looks like in words."""
    return hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest()


def _bytes(value: Tensor | np.ndarray[Any, Any]) -> bytes | memoryview:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data if value.size else b""
    if value.layout != torch.strided or value.is_meta:
        return repr(value).encode()
    flat = value.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else b""
