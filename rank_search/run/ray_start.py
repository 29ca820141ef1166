"""Starting Ray or joining a cluster, and what its errors say."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rank_search.errors import RunError, without_escapes
from rank_search.run.config import RunConfig

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0
AUTO = "auto"


@contextmanager
def connected(settings: RunConfig, cpus: float) -> Iterator[Any]:
    """Ray itself, started on this machine or joined, quietly; left as it was found.

    Args:
        settings: of the run.
        cpus: that a Ray which is started here must have.

    Raises:
        RunError: if it cannot be started, or there is none at the address.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")  # a lost node is said by us, in a line
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield ray
        return
    _start(ray, settings, cpus)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, settings: RunConfig, cpus: float) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    heard = signal.getsignal(signal.SIGTERM)
    try:
        if settings.ray_address is not None:
            look_for(settings.ray_address)
            ray.init(address=settings.ray_address, **quiet)
        else:
            ray.init(address="local", num_cpus=math.ceil(cpus), include_dashboard=False, **quiet)
    except RunError:
        raise
    except Exception as error:
        where = settings.ray_address or "this machine"
        raise RunError(
            f"Ray cannot be started on {where}: {line_of(error)}; use --in-process to run without it"
        ) from error
    finally:
        _give_back(heard)


def _give_back(heard: Any) -> None:
    """Gives SIGTERM back to who heard it before: Ray takes it, to end the process in its own way."""
    if callable(heard) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, heard)


def look_for(address: str) -> None:
    """Looks whether a Ray cluster answers there: ``ray.init`` itself would wait for ever.

    Raises:
        RunError: if not.
    """
    if address != AUTO:
        host, _, port = address.rpartition(":")
        if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:]+\]", host) or not port.isdecimal():
            raise RunError(
                f"run.ray_address={address!r} is not allowed: give HOST:PORT of the cluster's head (the driver runs "
                "on a node of it), or auto for the cluster that this machine belongs to"
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise RunError(
                f"there is no Ray at {address} ({error}): start one with `ray start --head`, give the address of "
                "another with --ray-address, or leave it out to run on this machine"
            ) from None
    asked = [] if address == AUTO else ["--address", address]
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "status", *asked]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
        found, why = answer.returncode == 0, (answer.stderr.strip().splitlines() or ["no answer"])[-1].strip()
    except subprocess.TimeoutExpired:
        found, why = False, f"no answer in {ANSWER_SECONDS:g} s"
    if not found:
        where = "on this machine (--ray-address auto)" if address == AUTO else f"at {address}"
        raise RunError(
            f"there is no Ray cluster {where}: {why}; start one with `ray start --head`, or leave --ray-address out"
        )


def line_of(error: BaseException) -> str:
    """The last line of an error, where Ray puts the cause, or its type."""
    lines = without_escapes(str(error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
