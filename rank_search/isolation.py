"""Keeping what one search does to the process from the next one: its state is put back, and nothing may end it."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np
import torch

REFUSED = ("_exit", "abort", "fork", "forkpty", "execv", "execve", "execvp", "execvpe", "execl", "execle", "execlp")
"""Of ``os``: what would end, replace or double the process that other cells run in."""
STREAMS = ("stdin", "stdout", "stderr")
SIGNALS = ("SIGINT", "SIGTERM", "SIGALRM", "SIGCHLD")
FLAGS = (
    (torch.backends.cudnn, "enabled"),
    (torch.backends.cudnn, "benchmark"),
    (torch.backends.cudnn, "deterministic"),
    (torch.backends.mkldnn, "enabled"),
)

_here = threading.local()


class ProcessRefusedError(BaseException):
    """Guarded code tried to end, replace or double the process; no ``except Exception`` of its own hides it."""


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Starts from a known state of the process and puts back what was there before.

    Random generators start from the seed, and denormal numbers count. Put back are: threads, gradients, default dtype
    and device, deterministic and precision flags, global hooks, random states, floating-point errors, the working
    folder, the environment, the import path, signal handlers, warnings, logging, the recursion limit and the standard
    streams, closed or not.

    Args:
        seed: of the generators of ``random``, NumPy and torch.
    """
    with warnings.catch_warnings(), _streams(), contextlib.ExitStack() as after:
        for put_back in _taken():
            after.callback(_quietly, put_back)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        torch.set_flush_denormal(False)  # some libraries switch it on when they are loaded
        yield


@contextmanager
def guarded() -> Iterator[None]:
    """Runs code that is not ours: what would end, replace or double the process raises instead.

    Raises:
        ProcessRefusedError: from inside, by the call that was tried.
    """
    before = getattr(_here, "guarded", False)
    originals = {name: getattr(os, name) for name in REFUSED if hasattr(os, name)}
    kill, raise_signal = os.kill, signal.raise_signal
    if not before:
        for name, original in originals.items():
            setattr(os, name, _refusing(f"os.{name}", original))
        os.kill = _refusing("os.kill on its own process", kill, _hits_us)
        signal.raise_signal = _refusing("signal.raise_signal", raise_signal)
    _here.guarded = True
    try:
        yield
    finally:
        _here.guarded = before
        if not before:
            for name, original in originals.items():
                setattr(os, name, original)
            os.kill, signal.raise_signal = kill, raise_signal


@contextmanager
def trusted() -> Iterator[None]:
    """Work of ours that guarded code asked for: a loader of data may start processes."""
    before = getattr(_here, "guarded", False)
    _here.guarded = False
    try:
        yield
    finally:
        _here.guarded = before


def _refusing(name: str, original: Any, when: Callable[..., bool] = lambda *args: True) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if getattr(_here, "guarded", False) and when(*args):
            raise ProcessRefusedError(f"it called {name}: the process belongs to other cells, too")
        return original(*args, **kwargs)

    return call


def _hits_us(pid: int, number: int) -> bool:
    return number != 0 and pid in (0, -1, os.getpid(), os.getppid())


def _taken() -> Iterator[Callable[[], object]]:
    """Reads the state of the process, piece by piece, as functions that put it back."""
    yield from _torch_state()
    numpy_state, python_state, errors = np.random.get_state(), random.getstate(), np.geterr()
    yield lambda: np.random.set_state(numpy_state)
    yield lambda: random.setstate(python_state)
    yield lambda: np.seterr(**errors)
    folder, variables, path = os.getcwd(), dict(os.environ), list(sys.path)
    yield lambda: os.chdir(folder)
    yield lambda: _refill(os.environ, variables)
    yield lambda: sys.path.__setitem__(slice(None), path)
    limit, disabled, collecting = sys.getrecursionlimit(), logging.root.manager.disable, gc.isenabled()
    yield lambda: sys.setrecursionlimit(limit)
    yield lambda: logging.disable(disabled)
    yield gc.enable if collecting else gc.disable
    mask = os.umask(0)
    os.umask(mask)
    yield lambda: os.umask(mask)
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            handler = signal.getsignal(number)
            yield lambda number=number, handler=handler: signal.signal(number, handler)  # type: ignore[misc]


def _torch_state() -> Iterator[Callable[[], object]]:
    threads, grad, dtype, device = (
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
    )
    yield lambda: torch.set_num_threads(threads)
    yield lambda: torch.set_grad_enabled(grad)
    yield lambda: torch.set_default_dtype(dtype)
    yield lambda: _set_device(device)
    exact, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    yield lambda: torch.use_deterministic_algorithms(exact, warn_only=warn)
    precision, anomaly, flushes = torch.get_float32_matmul_precision(), torch.is_anomaly_enabled(), _flushes()
    yield lambda: torch.set_float32_matmul_precision(precision)
    yield lambda: torch.autograd.set_detect_anomaly(anomaly)
    yield lambda: torch.set_flush_denormal(flushes)
    for kind in ("cpu", "cuda"):
        casts = torch.is_autocast_enabled(kind)
        yield lambda kind=kind, casts=casts: torch.set_autocast_enabled(kind, casts)  # type: ignore[misc]
    for where, name in FLAGS:
        value = getattr(where, name, None)
        if isinstance(value, bool):
            yield lambda where=where, name=name, value=value: setattr(where, name, value)  # type: ignore[misc]
    for name, hooks in vars(torch.nn.modules.module).items():  # hooks on every module there is
        if name.startswith("_global_") and isinstance(hooks, dict):
            before = dict(hooks)
            yield lambda hooks=hooks, before=before: _refill(hooks, before)  # type: ignore[misc]
    state = torch.get_rng_state()
    yield lambda: torch.set_rng_state(state)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states = torch.cuda.get_rng_state_all()
        yield lambda: torch.cuda.set_rng_state_all(states)


def _set_device(device: torch.device) -> None:
    if torch.get_default_device() != device:
        torch.set_default_device(None if device.type == "cpu" else device)


def _flushes() -> bool:
    return float(torch.tensor([1e-310], dtype=torch.float64) * 1.0) == 0.0


def _refill(mapping: Any, before: dict[Any, Any]) -> None:
    if dict(mapping) != before:
        mapping.clear()
        mapping.update(before)


def _quietly(put_back: Callable[[], object]) -> None:
    """A piece that cannot be put back (a folder that is gone) keeps none of the others from it."""
    with contextlib.suppress(Exception):
        put_back()


class _Stream:
    """A standard stream that cannot be closed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def close(self) -> None:
        """Does nothing: others print here, too."""

    def detach(self) -> Any:
        raise io.UnsupportedOperation("the standard streams are shared")


@contextmanager
def _streams() -> Iterator[None]:
    """The standard streams and their descriptors, which come back whatever was closed."""
    before = {name: getattr(sys, name) for name in STREAMS}
    copies: dict[int, int] = {}
    for number in range(len(STREAMS)):
        with contextlib.suppress(OSError):
            copies[number] = os.dup(number)
    for name, stream in before.items():
        if stream is not None:
            setattr(sys, name, _Stream(stream))
    try:
        yield
    finally:
        for number, copy in copies.items():
            with contextlib.suppress(OSError):
                os.dup2(copy, number)
            os.close(copy)
        for number, (name, stream) in enumerate(before.items()):
            if stream is not None and getattr(stream, "closed", False) and number in copies and number:
                stream = open(  # noqa: SIM115
                    os.dup(number), "w", encoding=stream.encoding, errors=stream.errors, buffering=1
                )
            setattr(sys, name, stream)
