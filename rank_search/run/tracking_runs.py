"""The runs of a bench in MLflow: all that is said to it, in calls that may be repeated.

A run is looked for by its tags before it is made, again after every refusal: a server may have made it and been cut off
before it said so. A metric has the same time whenever it is logged, so that MLflow takes it for the one it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rank_search.records.schema import (
    CONFIG_FILE,
    PLAN_FILE,
    PLOTS,
    RESULT_FILE,
    RESULTS_FILE,
    STEPS_FILE,
    TRACE_FILE,
    WEIGHTS_FILE,
)
from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.tracking_experiment import find_experiment
from rank_search.run.tracking_metrics import metrics_of

RUN_TAG, CELL_TAG = "rank_search.run", "rank_search.cell"
PARENT = "bench"
BATCH = 900  # MLflow takes at most 1000 metrics a call
LONGEST_PARAM = 6000  # characters


class MlflowRuns:
    """A parent run and a child per cell, made from the files of a run folder. Whatever MLflow raises is passed on.

    Args:
        config: of the run.
        folder: of the run.
        uri: absolute tracking URI.
        client: gives the client of that URI, which may be another one after a refusal.

    Attributes:
        logged: the cells that are complete in MLflow.
        ending: the parent is not to be opened any more.
    """

    def __init__(self, config: Config, folder: RunFolder, uri: str, client: Callable[[], Any]) -> None:
        self._config, self._folder, self._uri, self._client = config, folder, uri, client
        self.logged: set[str] = set()
        self.ending = False
        self._parent = ""
        self._experiment = ""
        self._children: dict[str, str] = {}
        self._described: set[str] = set()

    def forget(self) -> None:
        """Looks for all runs again before the next call."""
        self._parent = ""
        self._described.clear()

    def open(self) -> None:
        """Makes the parent, or goes on with it."""
        self._find()
        if not self.ending:
            self._client().update_run(self._parent, "RUNNING")
        self._client().log_artifact(self._parent, str(self._folder.path / CONFIG_FILE))

    def open_cell(self, cell: Cell) -> None:
        """Makes the child of a cell, or finds it."""
        self._child(cell)

    def log_cell(self, cell: Cell, again: bool) -> None:
        """Logs a cell that has ended, from its files; a cell that an earlier start has logged only if told again."""
        row = self._folder.result(cell)
        if row is None:
            return
        client, run_id, place = self._client(), self._child(cell), self._folder.cell(cell)
        if not again and client.get_run(run_id).info.status == "FINISHED":
            self.logged.add(cell.id)
            return
        metrics = metrics_of(row, place)
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        client.set_tag(run_id, "status", row["status"])
        if row.get("reason"):
            client.set_tag(run_id, "reason", row["reason"][:5000])
        for name in (PLAN_FILE, STEPS_FILE, TRACE_FILE, RESULT_FILE, WEIGHTS_FILE):
            if (place / name).exists():
                client.log_artifact(run_id, str(place / name))
        client.set_terminated(run_id, "FINISHED" if row["status"] == "done" else "FAILED")
        self.logged.add(cell.id)

    def close_cell(self, cell: Cell) -> None:
        """At the end of a run: logs a cell that has ended and is not logged, ends the child of one that has not."""
        if cell.id in self.logged:
            return
        if self._folder.result(cell) is not None:
            self.log_cell(cell, again=True)
            return
        self._find()
        if cell.id in self._children:
            self._client().set_terminated(self._children[cell.id], "KILLED")

    def close(self, complete: bool) -> None:
        """Ends the parent, and gives it the results that there are."""
        self._find()
        self._client().set_terminated(self._parent, "FINISHED" if complete else "KILLED")
        results = self._folder.path / RESULTS_FILE
        if results.exists():
            self._client().log_artifact(self._parent, str(results))

    def log_report(self, plots: Sequence[Path], pages: Sequence[Path]) -> None:
        """Gives the parent what its report draws, if there is a parent: plots in ``plots/``, pages beside it."""
        self._find(make=False)
        for file, place in [*((plot, PLOTS) for plot in plots), *((page, None) for page in pages)]:
            if self._parent:
                self._client().log_artifact(self._parent, str(file), place)

    def _find(self, make: bool = True) -> None:
        """Finds the parent and its children, unless they are known, and makes a parent where there is none."""
        if self._parent:
            return
        client = self._client()
        self._experiment = find_experiment(client, self._uri, f"rank-search/{self._config.name}", self._folder)
        self._children = {run.data.tags[CELL_TAG]: run.info.run_id for run in self._search()}
        parent = self._children.pop(PARENT, "")
        if not parent and make:
            tags = {RUN_TAG: self._folder.id, CELL_TAG: PARENT, "rank_search.folder": str(self._folder.path)}
            parent = client.create_run(self._experiment, tags=tags, run_name=self._config.name).info.run_id
        self._parent = parent

    def _search(self) -> list[Any]:
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._client().search_runs(
                [self._experiment], f"tags.`{RUN_TAG}` = '{self._folder.id}'", max_results=1000, page_token=token
            )
            found.extend(page)
            token = page.token
            if not token:
                return found

    def _child(self, cell: Cell) -> str:
        self._find()
        if cell.id not in self._children:
            tags = {RUN_TAG: self._folder.id, CELL_TAG: cell.id, "mlflow.parentRunId": self._parent}
            run = self._client().create_run(self._experiment, tags=tags, run_name=cell.folder)
            self._children[cell.id] = run.info.run_id
        if cell.id not in self._described:
            self._log_params(self._children[cell.id], cell)
            self._described.add(cell.id)
        return self._children[cell.id]

    def _log_params(self, run_id: str, cell: Cell) -> None:
        from mlflow.entities import Param

        values = {"task": cell.task, "budget": cell.budget, "searcher": cell.searcher.title, "seed": cell.seed}
        values |= {f"option.{key}": value for key, value in cell.searcher.options.items()}
        self._client().log_batch(
            run_id, params=[Param(key, str(value)[:LONGEST_PARAM]) for key, value in values.items()]
        )
