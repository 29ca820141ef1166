"""Where a worker has the files of a run: in the run folder if it sees it, else in a folder of its node's own."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from rank_search.errors import InvalidInputError
from rank_search.files import read_json, storage_errors, write_json
from rank_search.records.schema import CHECKPOINT_FILE, FINETUNE_FILE, RESULT_FILE, RUN_FILE
from rank_search.run.cells import Cell
from rank_search.run.folder import RunFolder
from rank_search.run.parcel import packed, unpack
from rank_search.run.relay import Relay
from rank_search.run.remote_run import RemoteRun
from rank_search.run.user_code import install

SEND_SECONDS = 2.0  # between two checkpoints of a cell that are sent: what is lost with a node at most,
SEND_SHARE = 0.02  # unless sending takes more than this share of the time, as with very many cells


def settle(run: RemoteRun) -> RunFolder:
    """Makes this worker ready for a run: its modules, its working folder and its files.

    Raises:
        RunError: if a module of the user's is another one here.
        StorageError: if the files cannot be written.
    """
    with suppress(OSError):
        os.chdir(run.working_folder)
    sys.path.extend(entry for entry in run.import_paths if entry not in sys.path)
    seen = sees(run)
    folder = RunFolder(run.path) if seen else RunFolder(_own_place() / run.id)
    install(run.code, folder.path / "code")
    if not seen:
        _unpacked(run, folder)
    return folder


def sees(run: RemoteRun) -> bool:
    """Whether this machine sees the run folder."""
    try:
        return bool(read_json(Path(run.path) / RUN_FILE)["id"] == run.id)
    except (InvalidInputError, TypeError, KeyError):
        return False


class Sending:
    """Sends what a cell has written to where others find it.

    Args:
        relay: None where the cell's folder is the run's own.
        folder, cell: what is sent.
    """

    def __init__(self, relay: Relay | None, folder: RunFolder, cell: Cell) -> None:
        self._relay, self._cell, self._place = relay, cell, folder.cell(cell)
        self._next = time.monotonic() + SEND_SECONDS

    def checkpoint(self) -> None:
        """Sends the cell's checkpoints, if the last ones are some seconds old."""
        started = time.monotonic()
        if self._relay is not None and started >= self._next:
            trained = (file.name for file in self._place.glob(f"{FINETUNE_FILE}*"))
            self._relay.send(self._cell.folder, packed(self._place, (CHECKPOINT_FILE, *trained)))
            ended = time.monotonic()
            self._next = ended + max(SEND_SECONDS, (ended - started) / SEND_SHARE)

    def everything(self) -> None:
        """Sends all files of the cell, its row last."""
        if self._relay is None:
            return
        files = dict(packed(self._place))
        row = files.pop(RESULT_FILE, None)
        self._relay.finish(self._cell.folder, {**files, **({} if row is None else {RESULT_FILE: row})})


@contextmanager
def cell_folder(run: RemoteRun, folder: RunFolder, cell: Cell) -> Iterator[Sending]:
    """A cell's folder as the last worker has left it; a copy of it goes again at the end."""
    own = str(folder.path) != run.path
    place = folder.cell(cell)
    relay = run.relay if own else None
    if relay is not None:
        shutil.rmtree(place, ignore_errors=True)
        unpack(relay.fetch(cell.folder), place)
    try:
        yield Sending(relay, folder, cell)
    finally:
        if own:
            shutil.rmtree(place, ignore_errors=True)


def _own_place() -> Path:
    return Path(tempfile.gettempdir()) / f"rank-search-{_user()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _unpacked(run: RemoteRun, folder: RunFolder) -> None:
    """Once per node: the prepared tasks, out of Ray's object store."""
    import ray

    with storage_errors(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(folder.path / ".unpacking"):
        if (folder.path / RUN_FILE).exists():
            return
        _tidy(folder.path.parent)
        for name, reference in run.tasks.items():
            unpack(ray.get(reference), folder.task(name))
        write_json(folder.path / RUN_FILE, {"id": run.id})


def _tidy(place: Path, days: float = 14.0) -> None:
    """Removes what earlier runs have left on this node some days ago."""
    for old in place.iterdir():
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > days * 86400:
                shutil.rmtree(old, ignore_errors=True)
