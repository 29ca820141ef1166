"""Linear algebra on one thread: for matrices so small that threads wait for each other, and for equal bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_LOCK = threading.RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, BLAS has one thread, whatever the process has; one Python thread at a time is inside."""
    with _LOCK, _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
