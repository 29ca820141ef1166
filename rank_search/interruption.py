"""Being told to stop: Ctrl-C, and the SIGTERM of a queue system, which is the same with another exit code."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_heard: list[int] = []  # SIGTERM, once it has arrived


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


def exit_code(interruption: KeyboardInterrupt) -> int:
    """What a shell says of a program that was stopped so.

    Libraries that are interrupted may raise a KeyboardInterrupt of their own: what was heard last counts.
    """
    return TERMINATED if _heard or isinstance(interruption, Terminated) else INTERRUPTED


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises :class:`Terminated` in the main thread; a second one, while it clears up, is not heard."""

    def raise_it(number: int, frame: FrameType | None) -> None:
        if not _heard:
            _heard.append(number)
            raise Terminated

    _heard.clear()
    before = signal.signal(signal.SIGTERM, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
