"""How many threads compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Torch and BLAS use that many threads inside: two processes with all cores each are many times slower.

    Results depend on the number, so every cell gets the same.
    """
    from threadpoolctl import threadpool_limits

    with torch_threads(threads), threadpool_limits(threads):
        yield


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Torch uses that many threads inside; costs microseconds."""
    import torch

    before = torch.get_num_threads()
    if before != threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if before != threads:
            torch.set_num_threads(before)
