"""A run folder whose cells have ended, without running any: what MLflow is given."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from run_folder import steps
from small_bench import SMALL

from rank_search.files import write_json
from rank_search.records.schema import PLAN_FILE, RESULT_FILE
from rank_search.records.steps import write_steps
from rank_search.run.cells import Cell, expand
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.observer import Observer
from rank_search.run.tracking import make_tracking

DENSE = {"macs": 1000, "params": 100}


class Run:
    """A run of a few cells in a folder.

    Args:
        path: of the folder.
        uri: of the tracking; None for the database in the folder.
        seeds: one cell each.
    """

    def __init__(self, path: Path, uri: str | None = None, seeds: int = 2) -> None:
        one = {"searchers": ["random"], "budgets": [{"macs": 0.5}], "seeds": [*range(seeds)]}
        self.config = Config.model_validate({**SMALL, **one, "run": {"tracking": uri}})
        self.cells, self.folder = expand(self.config), RunFolder(path)
        if not self.folder.path.exists():
            self.folder.create(self.config, self.cells)

    def end_cell(self, cell: Cell) -> dict[str, Any]:
        row = {"cell": cell.id, "seed": cell.seed, "status": "done", "reason": "", "measure": "accuracy"}
        row |= {"val_accuracy": 0.9 + cell.seed / 100, "score": 0.5}
        place = self.folder.cell(cell)
        write_steps(place, steps([0.9, 0.5], [1, 2]), DENSE, ["loss", "accuracy"])
        write_json(place / PLAN_FILE, {})
        write_json(place / RESULT_FILE, row)
        return row

    def go_on(self) -> Observer:
        """What ``bench`` does: tells of the cells that are done, and of the others as they end."""
        tracking = make_tracking(self.config, self.folder)
        done = [cell for cell in self.cells if self.folder.finished(cell)]
        tracking.begin(self.cells, done)
        for cell in self.cells:
            if cell not in done:
                tracking.progress(cell, 0, None)
                tracking.finish(cell, self.end_cell(cell))
        self.folder.write_results([])
        tracking.end(True)
        return tracking


def artifacts(path: Path) -> list[str]:
    """The names of all artifacts below a run folder, sorted."""
    return sorted(file.name for file in (path / "mlartifacts").rglob("*") if file.is_file())


def logged(database: Path) -> dict[str, list[tuple[str, str]]]:
    """Per experiment the names of its runs and how they ended, read with SQLite alone."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "select e.name, r.name, r.status from runs r join experiments e on e.experiment_id = r.experiment_id"
        ).fetchall()
    found: dict[str, list[tuple[str, str]]] = {}
    for experiment, run, status in sorted(rows):
        found.setdefault(experiment, []).append((run, status))
    return found
