"""The run folder: self-contained, one folder per cell, every file whole or absent."""

from __future__ import annotations

import os
import shutil
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import RunError
from rank_search.files import read_json, storage_errors, write_json, write_text
from rank_search.records.file_names import LONGEST_NAME, size
from rank_search.records.results import write_results
from rank_search.records.schema import COMMAND, CONFIG_FILE, RESULT_FILE, RUN_FILE, VERSION, VERSIONS, check_version
from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.lock import LOCK_FILE, contents
from rank_search.run.versions import note_other_versions, versions


class RunFolder:
    """Paths and files of one run.

    Args:
        path: the folder; made absolute, so that workers elsewhere find it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        for part in self.path.parts:
            if "\0" in part or size(part) > LONGEST_NAME:
                raise RunError(
                    f"{part[:20]!r}... of {size(part)} bytes cannot be a folder's name: it has at most {LONGEST_NAME} "
                    "bytes and no NUL; give another folder with --output"
                )

    def check_new(self) -> None:
        """Looks whether a run can start here; a folder that holds nothing but a lock is new, too.

        Raises:
            RunError: if the folder holds anything else.
        """
        with storage_errors(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise RunError(f"{self.path} is a file: give a folder with --output")
            if contents(self.path):
                what = "holds a run" if (self.path / CONFIG_FILE).exists() else "is not empty"
                raise RunError(f"{self.path} {what}: give another folder with --output, or go on with --resume")

    def check_run(self) -> None:
        """Looks whether there is a run to go on with.

        Raises:
            RunError: if there is none.
        """
        with storage_errors(self.path):
            if not (self.path / CONFIG_FILE).exists():
                raise RunError(f"there is no run to resume in {self.path}")

    @property
    def is_locked(self) -> bool:
        """Whether somebody writes into it, or was killed when he did."""
        return (self.path / LOCK_FILE).exists()

    def create(self, config: Config, cells: Sequence[Cell] = (), command: str = "bench") -> None:
        """Starts a run.

        Args:
            config: of the run.
            cells: of the config; their folders and those of the tasks must be possible beside one another here.
            command: that began it, ``bench`` or ``search``.

        Raises:
            RunError: if the folder holds anything already, or the file system takes two names for one.
        """
        self.check_new()
        try:
            record = {"id": uuid.uuid4().hex, "schema": VERSION, COMMAND: command, VERSIONS: versions()}
            write_json(self.path / RUN_FILE, record)
            self._check_names([cell.folder for cell in cells], "cells")
            self._check_names(list(config.tasks), "tasks")
            write_text(self.path / CONFIG_FILE, config.to_yaml())
        except BaseException:
            self.remove()
            raise

    def _check_names(self, names: Sequence[str], what: str) -> None:
        """Asks the file system, which holds ``run.json`` already, what it takes."""
        folds = (self.path / RUN_FILE.upper()).exists()
        found: dict[str, str] = {}
        most = os.pathconf(self.path, "PC_NAME_MAX") if hasattr(os, "pathconf") else LONGEST_NAME
        for name in names:
            if size(name) > most:
                raise RunError(
                    f"the file system of {self.path} takes names of {most} bytes, {name!r} has {size(name)}: give "
                    f"shorter names to {what} and labels, or another folder with --output"
                )
            other = found.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
            if folds and other != name:
                raise RunError(
                    f"the file system of {self.path} takes {other!r} and {name!r} for one name: give {what} and labels "
                    "that differ in more than case, or another folder with --output"
                )

    def reopen(self, config: Config) -> None:
        """Goes on with a run; that it does so under other versions is a line.

        Raises:
            RunError: if there is none, or it was started from another config (``run:`` may differ).
        """
        self.check_run()
        check_version(dict(read_json(self.path / RUN_FILE)).get("schema"), self.path)
        before = self._config()
        now = yaml.safe_load(config.to_yaml())
        for key in now:
            if key != "run" and _lasting(before.get(key)) != _lasting(now[key]):
                raise RunError(
                    f"{self.path} was started from another config: {key!r} differs; resume with the same one, or give "
                    "another folder with --output"
                )
        if before["run"]["threads"] != now["run"]["threads"] or before["run"]["device"] != now["run"]["device"]:
            raise RunError(f"{self.path} was started with other run.threads or run.device, which change results")
        note_other_versions(self.path / RUN_FILE)

    def _config(self) -> dict[str, Any]:
        """What the run was started with."""
        try:
            found = yaml.safe_load((self.path / CONFIG_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise RunError(f"{self.path / CONFIG_FILE} cannot be read: {' '.join(str(error).split())}") from None
        run = found.get("run") if isinstance(found, dict) else None
        if not isinstance(run, dict) or not {"threads", "device"} <= {*run}:
            raise RunError(f"{self.path / CONFIG_FILE} is no config of a run: run the bench again in a new folder")
        return dict(found)

    @property
    def id(self) -> str:
        """The run's own identifier, by which MLflow finds it again."""
        return str(read_json(self.path / RUN_FILE)["id"])

    @property
    def begun(self) -> bool:
        """Whether any cell has begun."""
        return (self.path / "cells").exists()

    def task(self, name: str) -> Path:
        return self.path / "tasks" / name

    def cell(self, cell: Cell) -> Path:
        return self.path / "cells" / cell.folder

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """The row of a finished cell, or None."""
        path = self.cell(cell) / RESULT_FILE
        return dict(read_json(path)) if path.exists() else None

    def finished(self, cell: Cell) -> bool:
        """Whether a cell is done; a failed one is tried again on resume."""
        result = self.result(cell)
        return result is not None and result["status"] == "done"

    def write_results(self, cells: Iterable[Cell]) -> None:
        """``results.csv``: one row per cell that has ended, in the config's order."""
        write_results(self.path, [row for row in map(self.result, cells) if row is not None])

    def remove(self) -> None:
        """Deletes a run that could not start; the folder itself is left to its lock."""
        for path in contents(self.path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


def _lasting(value: Any) -> Any:
    """A part of a config without what may change between two starts: how many workers an arm has."""
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key != "workers"}
    return [_lasting(item) for item in value] if isinstance(value, list) else value
