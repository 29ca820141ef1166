"""The run folder: self-contained, one folder per cell, every file whole or absent."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import RunError
from rank_search.files import read_json, write_json, write_text
from rank_search.records.results import write_results
from rank_search.records.schema import CONFIG_FILE, RESULT_FILE, RUN_FILE, VERSION, check_version
from rank_search.run.cells import Cell
from rank_search.run.config import Config


class RunFolder:
    """Paths and files of one run.

    Args:
        path: the folder; made absolute, so that workers elsewhere find it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    def create(self, config: Config) -> None:
        """Starts a run.

        Raises:
            RunError: if the folder holds anything already.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            if not self.path.is_dir():
                raise RunError(f"{self.path} is a file: give a folder with --output")
            what = "holds a run" if (self.path / CONFIG_FILE).exists() else "is not empty"
            raise RunError(f"{self.path} {what}: give another folder with --output, or go on with --resume")
        try:
            write_json(self.path / RUN_FILE, {"id": uuid.uuid4().hex, "schema": VERSION})
            write_text(self.path / CONFIG_FILE, config.to_yaml())
        except BaseException:
            self.remove()
            raise

    def reopen(self, config: Config) -> None:
        """Goes on with a run.

        Raises:
            RunError: if there is none, or it was started from another config (``run:`` may differ).
        """
        if not (self.path / CONFIG_FILE).exists():
            raise RunError(f"there is no run to resume in {self.path}")
        check_version(dict(read_json(self.path / RUN_FILE)).get("schema"), self.path)
        before = yaml.safe_load((self.path / CONFIG_FILE).read_text())
        now = yaml.safe_load(config.to_yaml())
        for key in now:
            if key != "run" and before.get(key) != now[key]:
                raise RunError(
                    f"{self.path} was started from another config: {key!r} differs; resume with the same one, or give "
                    "another folder with --output"
                )
        if before["run"]["threads"] != now["run"]["threads"] or before["run"]["device"] != now["run"]["device"]:
            raise RunError(f"{self.path} was started with other run.threads or run.device, which change results")

    @property
    def id(self) -> str:
        """The run's own identifier, by which MLflow finds it again."""
        return str(read_json(self.path / RUN_FILE)["id"])

    def task(self, name: str) -> Path:
        return self.path / "tasks" / name

    def cell(self, cell: Cell) -> Path:
        return self.path / "cells" / cell.id

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
        """Deletes a run that could not start."""
        shutil.rmtree(self.path, ignore_errors=True)
