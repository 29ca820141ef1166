"""What long steps say of how far they are, to whoever listens in this thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]
"""Hears a step's name, how much of it is done, and of how much (0 where that is not known)."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Has the listener hear of every step inside."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(step: str, done: int, total: int = 0) -> None:
    """Says how far a step is; costs nothing where nobody listens."""
    listener = _listener.get()
    if listener is not None:
        listener(step, done, total)
