"""Who writes into a run folder: the note beside its lock."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from rank_search.errors import RunError

LOCK_FILE, HOLDER_FILE = ".lock", ".lock.json"


def holder_of(folder: Path) -> dict[str, Any] | None:
    """What the holder of the lock wrote: ``pid``, ``host``, ``since``; None if that is not (yet) to be read."""
    try:
        holder = json.loads((folder / HOLDER_FILE).read_text())
        known = isinstance(holder["pid"], int) and holder["pid"] > 0
        return dict(holder) if known and {"host", "since"} <= {*holder} else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_alive(holder: dict[str, Any] | None) -> bool:
    """Whether this can be the holder: processes of other hosts are believed."""
    if holder is None:
        return False
    if holder["host"] != socket.gethostname() or os.name == "nt":  # there, signal 0 is no question
        return True
    try:
        os.kill(holder["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def described(holder: dict[str, Any] | None) -> str:
    """``process 12 on host since ...``."""
    if not is_alive(holder):
        return "another process"
    assert holder is not None
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}"


def check_at_rest(folder: Path) -> None:
    """Looks whether anybody writes into a folder; what a killed process left there is nobody.

    Raises:
        RunError: if a process does; says which.
    """
    holder = holder_of(folder)
    if is_alive(holder):
        raise RunError(f"{folder} is still being written to by {described(holder)}: wait for its end or stop it first")
