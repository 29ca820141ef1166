"""Ending a step that hangs: the limits on seconds hold inside of steps, too."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rank_search.task.meter import Meter

LOOK_SECONDS = 0.1
GRACE = 0.1  # of the limit: a step that is about to end ends by itself
LEAST_GRACE_SECONDS = 1.0
AGAIN_SECONDS = 1.0  # between two tries to end a step that catches everything
GIVE_UP_SECONDS = 15.0  # after which what called cannot be interrupted at all


class TimeUp(BaseException):
    """A limit on seconds passed inside of a step; no ``except Exception`` of the searcher's hides it."""


class Watchdog:
    """Interrupts the thread that searches when ``cpu_seconds`` or ``wall_seconds`` are over.

    The main thread is interrupted by a signal, which ends a sleep, too; another one at its next step in Python.

    Args:
        meter: whose limits and seconds are looked at; its ``hopeless`` is called, from another thread, if the step
            could not be interrupted for 15 seconds.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._armed = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self._by_signal = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches while this is open; does nothing where there is no limit on seconds."""
        limits = self._meter.limits
        if limits.cpu_seconds is None and limits.wall_seconds is None:
            yield
            return
        before = signal.signal(signal.SIGALRM, self._signalled) if self._by_signal else None
        watcher = threading.Thread(target=self._watch, name="rank-search watchdog", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._over.set()
            watcher.join()
            if self._by_signal:
                signal.signal(signal.SIGALRM, before)
            self._clear()

    @contextmanager
    def step(self) -> Iterator[None]:
        """What may be interrupted."""
        self._armed.set()
        try:
            yield
        finally:
            with self._lock:
                self._armed.clear()
                self._clear()

    def _watch(self) -> None:
        tried = 0.0
        while not self._over.wait(AGAIN_SECONDS if tried else LOOK_SECONDS):
            limit = self._passed()
            if limit is None or not self._armed.is_set():
                tried = 0.0
                continue
            if self._meter.hopeless is not None and tried >= GIVE_UP_SECONDS:
                self._meter.hopeless(limit)
            tried += AGAIN_SECONDS
            self._interrupt()

    def _passed(self) -> str | None:
        for name in ("wall_seconds", "cpu_seconds"):
            limit = getattr(self._meter.limits, name)
            if limit is not None and getattr(self._meter, name) > limit + max(LEAST_GRACE_SECONDS, GRACE * limit):
                return name
        return None

    def _interrupt(self) -> None:
        if self._by_signal:
            signal.pthread_kill(self._thread, signal.SIGALRM)
            return
        with self._lock:
            if self._armed.is_set():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(TimeUp))

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._armed.is_set():
            raise TimeUp

    def _clear(self) -> None:
        """Takes back an interruption that has not arrived."""
        if not self._by_signal:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)
