"""One writer for a folder: a lock that ends with the process that holds it, and a note beside it of who that is."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rank_search.errors import RunError
from rank_search.files import storage_errors
from rank_search.records.lock_holder import HOLDER_FILE, LOCK_FILE, described, holder_of, is_alive

__all__ = ["HOLDER_FILE", "LOCK_FILE", "contents", "forget_lock", "only_writer"]
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems say that have none."""
TRIES, PAUSE = 10, 0.1  # a holder needs a moment to write who it is, or to clear up


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Nobody else who asks writes into the folder meanwhile.

    The folder is made if it is not there; if it is still empty at the end, it goes again, with the parents that were
    made for it. What a killed process left of its lock is taken over.

    Raises:
        RunError: if another process, or another call in this one, writes into it; says which.
        StorageError: if the folder cannot be made or written to.
    """
    with storage_errors(folder):
        made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / LOCK_FILE)
    try:
        held = _take(lock, folder)
        try:
            if held:
                with storage_errors(folder / HOLDER_FILE):
                    (folder / HOLDER_FILE).write_text(json.dumps(_this_process()))
            yield
        finally:
            if held:
                forget_lock(folder)
                lock.release()
    finally:
        with suppress(OSError):  # not empty, or another's already
            for path in made:
                path.rmdir()


def forget_lock(folder: Path) -> None:
    """Removes the files of a lock that this process holds, so that the folder can be replaced."""
    for name in (HOLDER_FILE, LOCK_FILE):
        with suppress(OSError):
            (folder / name).unlink()


def contents(folder: Path) -> list[Path]:
    """What a folder holds beside a lock; nothing if it is not there."""
    if not folder.exists():
        return []
    return [path for path in folder.iterdir() if path.name not in (LOCK_FILE, HOLDER_FILE)]


def _take(lock: FileLock, folder: Path) -> bool:
    """Whether the lock is held now; not if the file system knows no locks, which is said."""
    missing = None
    for _ in range(TRIES):
        missing = _missing_parent(folder)
        try:
            lock.acquire(timeout=0)
            return True
        except Timeout:
            if is_alive(holder_of(folder)):
                break
        except FileNotFoundError:  # its last writer has just removed the folder
            pass
        except OSError as error:
            if error.errno not in NO_LOCKS:
                with storage_errors(folder):
                    raise
            logging.getLogger("rank_search").warning(
                "The file system of %s has no locks: do not run two benches in this folder at once.", folder
            )
            return False
        time.sleep(PAUSE)
    if missing is not None:
        with storage_errors(folder, "make"):
            raise missing
    raise RunError(
        f"{folder} is being written to by {described(holder_of(folder))}: wait for its end or stop it, or give another "
        "folder with --output"
    )


def _missing_parent(folder: Path) -> FileNotFoundError | None:
    """Makes a folder; the error if a parent is gone: another has just removed it, or none can be made there (/proc)."""
    with storage_errors(folder, "make"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:
            return error
    return None


def _this_process() -> dict[str, Any]:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
