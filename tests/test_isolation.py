"""What a search does to the process ends with it, and it cannot end the process."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rank_search.isolation import REFUSED, ProcessRefusedError, guarded, isolated, trusted

Pair = tuple[Callable[[], Any], Callable[[], Any]]
"""How a piece of state is read, and how a search might change it."""


def _global_hooks() -> int:
    return len(torch.nn.modules.module._global_forward_hooks)


PIECES: dict[str, Pair] = {
    "threads": (torch.get_num_threads, lambda: torch.set_num_threads(3)),
    "gradients": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False)),
    "dtype": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "device": (torch.get_default_device, lambda: torch.set_default_device("meta")),
    "determinism": (
        torch.are_deterministic_algorithms_enabled,
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    ),
    "precision": (torch.get_float32_matmul_precision, lambda: torch.set_float32_matmul_precision("medium")),
    "denormals": (
        lambda: float(torch.tensor([1e-310], dtype=torch.float64) * 1.0) > 0,
        lambda: torch.set_flush_denormal(True),
    ),
    "autocast": (lambda: torch.is_autocast_enabled("cpu"), lambda: torch.set_autocast_enabled("cpu", True)),
    "anomaly": (torch.is_anomaly_enabled, lambda: torch.autograd.set_detect_anomaly(True)),
    "oneDNN": (lambda: torch.backends.mkldnn.enabled, lambda: setattr(torch.backends.mkldnn, "enabled", False)),
    "hooks": (
        _global_hooks,
        lambda: torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: None),
    ),
    "torch's generator": (lambda: torch.get_rng_state().tolist(), lambda: torch.rand(3)),
    "NumPy's generator": (lambda: np.random.get_state()[1].tolist(), lambda: np.random.rand(700)),  # type: ignore[index]
    "Python's generator": (random.getstate, random.random),
    "floating-point errors": (np.geterr, lambda: np.seterr(all="raise")),
    "folder": (os.getcwd, lambda: os.chdir("/")),
    "environment": (lambda: dict(os.environ), lambda: os.environ.update(HOME="/nowhere", NEW="1")),
    "import path": (lambda: list(sys.path), lambda: sys.path.clear()),
    "recursion": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(500)),
    "logging": (lambda: logging.root.manager.disable, lambda: logging.disable(logging.CRITICAL)),
    "garbage": (gc.isenabled, gc.disable),
    "warnings": (lambda: list(warnings.filters), lambda: warnings.simplefilter("ignore")),
    "signals": (lambda: signal.getsignal(signal.SIGTERM), lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)),
    "streams": (lambda: (sys.stdout, sys.stderr), lambda: setattr(sys, "stdout", None)),
}


@pytest.mark.parametrize("piece", PIECES)
def test_every_piece_of_the_process_is_put_back(piece: str, capsys: pytest.CaptureFixture[str]) -> None:
    read, change = PIECES[piece]
    before = read()
    with isolated(0):
        inside = read()
        change()
        assert read() != inside, "the change changes nothing: it shows nothing"
    assert read() == before


@pytest.mark.parametrize("how", ["returns", "raises"])
def test_it_is_put_back_however_the_search_ends(how: str) -> None:
    before = torch.get_default_dtype()
    with contextlib.suppress(ZeroDivisionError), isolated(0):
        torch.set_default_dtype(torch.float16)
        if how == "raises":
            raise ZeroDivisionError
    assert torch.get_default_dtype() == before


def test_a_folder_that_is_gone_keeps_nothing_else_from_coming_back(tmp_path: Path) -> None:
    home, place = os.getcwd(), tmp_path / "gone"
    place.mkdir()
    os.chdir(place)
    dtype = torch.get_default_dtype()
    try:
        with isolated(0):
            os.chdir(home)
            place.rmdir()
            torch.set_default_dtype(torch.float64)
        assert torch.get_default_dtype() == dtype
    finally:
        os.chdir(home)


def test_the_generators_start_from_the_seed() -> None:
    def drawn(seed: int) -> tuple[float, float, float]:
        with isolated(seed):
            return random.random(), float(np.random.rand()), float(torch.rand(1))

    random.seed(5)
    first = drawn(3)
    torch.rand(7)
    assert drawn(3) == first
    assert all(a != b for a, b in zip(drawn(4), first, strict=True))


def test_closed_streams_and_descriptors_work_again(capfd: pytest.CaptureFixture[str]) -> None:
    with isolated(0):
        sys.stdout.close()
        sys.stderr.close()
        os.close(1)
    os.write(1, b"by the descriptor\n")
    print("by the stream", flush=True)
    assert capfd.readouterr().out == "by the descriptor\nby the stream\n"


@pytest.mark.parametrize("name", [name for name in REFUSED if hasattr(os, name)])
def test_what_would_end_replace_or_double_the_process_raises(name: str) -> None:
    arguments = {"_exit": (0,), "execv": ("/bin/true", ["true"])}.get(name, ())
    original = getattr(os, name)
    with pytest.raises(ProcessRefusedError, match=rf"^it called os\.{name}: "), guarded():
        getattr(os, name)(*arguments)
    assert getattr(os, name) is original


def test_it_cannot_kill_itself_or_its_parent_but_ask_whether_they_live() -> None:
    with guarded():
        for pid in (0, os.getpid(), os.getppid()):
            os.kill(pid, 0)
            with pytest.raises(ProcessRefusedError):
                os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProcessRefusedError):
            signal.raise_signal(signal.SIGTERM)


def test_work_of_ours_inside_may_start_processes() -> None:
    with guarded(), trusted():
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_guards_within_guards_end_with_the_outer_one() -> None:
    with guarded():
        with guarded():
            pass
        with pytest.raises(ProcessRefusedError):
            os._exit(0)
