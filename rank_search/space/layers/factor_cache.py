"""What was computed from weights, kept in memory up to a limit and on disk, so that nothing is computed twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from rank_search.digests import digest_of
from rank_search.errors import InvalidInputError
from rank_search.files import read_tensors, write_tensors

Tensors = dict[str, Tensor]
MEMORY_BYTES = 128 * 2**20
TINY = 64  # bytes: numbers that took long, and whose dropping would free nothing


class FactorCache:
    """A store of tensors by key. On disk: one safetensors file per key, safe for many readers and writers at once.

    Args:
        folder: where the files are; made when first written to. None keeps nothing on disk.
        memory_bytes: how much is kept in memory; what was used least recently goes first, single numbers
            never.
    """

    def __init__(self, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self.folder, self._limit = folder, memory_bytes
        self._memory: OrderedDict[str, Tensors] = OrderedDict()
        self._digests: dict[str, str] = {}
        self._held = 0
        self._latest: tuple[str, Tensor, int] | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    def altered(self) -> list[str]:
        """Keys of tensors that somebody has written to; they are dropped."""
        with self._lock:
            found = [key for key, tensors in self._memory.items() if _digest(tensors) != self._digests[key]]
            for key in found:
                self._held -= _bytes(self._memory.pop(key))
                del self._digests[key]
            if self._latest is not None and _version(self._latest[1]) != self._latest[2]:
                found.append(self._latest[0])
            self._latest = None
            return found

    def get(self, key: str, compute: Callable[[], Tensors], on_disk: bool = True) -> Tensors:
        """The stored tensors of that key, or those that ``compute`` returns, then stored.

        An unreadable file is replaced. The tensors are shared: nobody may write to them.

        Args:
            key: names a file.
            compute: called if nothing is stored.
            on_disk: whether a file is worth it.
        """
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                self._memory.move_to_end(key)
                return found
            found = self._read(key) if on_disk else None
            if found is None:
                found = compute()
                if self.folder is not None and on_disk:
                    write_tensors(self._path(self.folder, key), found)
            self._remember(key, found)
            return found

    def latest(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        """As :meth:`get` for one tensor that is fast to compute again: only the last one asked for is kept.

        One that somebody has written to is computed anew.
        """
        with self._lock:
            if self._latest is None or self._latest[0] != key or _version(self._latest[1]) != self._latest[2]:
                self._latest = None  # what it holds is free before the next one is made
                tensor = compute()
                self._latest = (key, tensor, _version(tensor))
            return self._latest[1]

    def _read(self, key: str) -> Tensors | None:
        if self.folder is None or not self._path(self.folder, key).exists():
            return None
        try:
            return read_tensors(self._path(self.folder, key))[0]
        except InvalidInputError:
            return None

    def _remember(self, key: str, tensors: Tensors) -> None:
        self._memory[key] = tensors
        self._digests[key] = _digest(tensors)
        self._held += _bytes(tensors)
        while self._held > self._limit:
            oldest = next((key for key, held in self._memory.items() if _bytes(held) > TINY), None)
            if oldest is None:
                break
            self._held -= _bytes(self._memory.pop(oldest))
            del self._digests[oldest]

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}.safetensors"


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _version(tensor: Tensor) -> int:
    """How often torch has written to it; inference tensors are not counted."""
    return 0 if tensor.is_inference() else int(tensor._version)


def _digest(tensors: Tensors) -> str:
    return digest_of(tensors.values())
