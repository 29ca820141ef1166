"""The task that all cells of a process share, and what becomes of it when a search has changed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rank_search.errors import SearcherError
from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.prepare import Prepared, load_prepared
from rank_search.task.digest import changed, task_digest

SHOWN = 3
Key = tuple[str, str, str]

_prepared: dict[Key, Prepared] = {}  # a worker runs many cells of one task: it loads the task once


def shared(config: Config, cell: Cell, folder: RunFolder) -> Prepared:
    """The cell's task, loaded once per process."""
    key = _key(cell, folder)
    if key not in _prepared:
        _prepared[key] = load_prepared(config, cell.task, folder.task(cell.task))
    return _prepared[key]


def share(prepared: Prepared, name: str, folder: RunFolder) -> None:
    """Cells of this process take the task that was prepared in it, which is what they would load."""
    _prepared[str(folder.path), folder.id, name] = prepared


def forget(folder: RunFolder) -> None:
    """Lets go of the tasks of a run."""
    for key in [key for key in _prepared if key[0] == str(folder.path)]:
        del _prepared[key]


@contextmanager
def left_alone(config: Config, cell: Cell, folder: RunFolder) -> Iterator[None]:
    """Runs a search on the shared task and looks whether it left all of it as it was, to the bit.

    If not, the next cell loads the task anew from the run folder.

    Raises:
        SearcherError: names what was changed.
    """
    task = shared(config, cell, folder).task
    before = task_digest(task)
    failed = True
    try:
        yield
        failed = False
    finally:
        different = changed(before, task_digest(task))
        if different:
            del _prepared[_key(cell, folder)]
            if not failed:
                more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
                raise SearcherError(
                    f"{cell.searcher.name} changed {', '.join(different[:SHOWN])}{more}: searches share them and may "
                    "only read; everything was restored"
                )


def _key(cell: Cell, folder: RunFolder) -> Key:
    return str(folder.path), folder.id, cell.task
