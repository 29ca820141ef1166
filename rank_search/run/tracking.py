"""MLflow: one parent run for a bench, a child run per cell, found by tag before they are made, none left RUNNING.

Everything goes through the driver's client to ONE absolute URI. Tracking never loses a result and never holds a run up:
what MLflow refuses while cells run is said once and tried again when the run ends or is resumed, from the files in the
run folder.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rank_search.errors import TrackingError
from rank_search.records.schema import (
    CONFIG_FILE,
    PLAN_FILE,
    RESULT_FILE,
    RESULTS_FILE,
    STEPS_FILE,
    TRACE_FILE,
    WEIGHTS_FILE,
)
from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.observer import Observer
from rank_search.run.tracking_database import (
    PATIENCE,
    check_database,
    database_path,
    database_uri,
    first_line,
    open_client,
    open_own_client,
)
from rank_search.run.tracking_experiment import find_experiment
from rank_search.run.tracking_metrics import metrics_of

RUN_TAG, CELL_TAG = "rank_search.run", "rank_search.cell"
PARENT = "bench"
BATCH = 900  # MLflow takes at most 1000 metrics a call
LONGEST_PARAM = 6000  # characters
REST = 60.0  # seconds in which a server that has refused is not asked again


def make_tracking(config: Config, folder: RunFolder) -> Observer:
    """The tracker that the config asks for, after a server or a database of the user's has answered.

    Raises:
        TrackingError: if it cannot be reached or used.
    """
    uri = config.run.tracking
    if uri == "none":
        return Observer()
    if uri is None:
        return MlflowTracking(config, folder)
    if "://" not in uri:
        raise TrackingError(
            f"run.tracking={uri!r} is not an MLflow URI: give http://HOST:PORT or sqlite:////PATH, null for a database "
            "in the run folder, or none"
        )
    tracking = MlflowTracking(config, folder, uri)
    tracking.check()
    return tracking


class MlflowTracking(Observer):
    """Mirrors a run folder in MLflow.

    Args:
        config: of the run.
        folder: of the run.
        uri: absolute tracking URI; None for the database in the run folder, which may be made anew.
    """

    def __init__(self, config: Config, folder: RunFolder, uri: str | None = None) -> None:
        self._config, self._folder, self._own = config, folder, uri is None
        self._uri = uri or database_uri(folder.path)
        self._path = database_path(self._uri)
        self._client_: Any = None
        self._experiment = self._parent = ""
        self._children: dict[str, str] = {}
        self._cells: list[Cell] = []
        self._logged: set[str] = set()
        self._warned = False
        self._silent_until = -math.inf

    def check(self) -> None:
        """Asks the server or the database for an answer.

        Raises:
            TrackingError: if there is none.
        """
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        try:
            self._client()
        except Exception as error:
            what, advice = f"the tracking server {self._uri} does not answer", "start it"
            if self._path is not None:
                what, advice = f"the tracking database {self._path} cannot be used", "move it away, give another one"
            raise TrackingError(f"{what}: {first_line(error)}; {advice}, or run with --set run.tracking=none") from None

    def begin(self, cells: Sequence[Cell], finished: Sequence[Cell]) -> None:
        self._cells = list(cells)
        if self._own:
            self._attempt(self._open_own)
        self._attempt(self._open_parent)
        for cell in finished:
            self._attempt(partial(self._log_cell, cell, again=False))

    def progress(self, cell: Cell, evaluations: int, incumbent: float | None) -> None:
        if cell.id not in self._children:
            self._attempt(partial(self._child, cell))

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self._attempt(partial(self._log_cell, cell, again=True))

    def end(self, complete: bool) -> None:
        self._silent_until = -math.inf
        if not self._parent:
            self._attempt(self._open_parent)
        for cell in self._cells:
            if cell.id not in self._logged:
                self._attempt(partial(self._close_cell, cell))
        self._attempt(partial(self._close, complete))

    def _open_own(self) -> None:
        self._client_ = open_own_client(self._folder.path)

    def _close_cell(self, cell: Cell) -> None:
        if self._folder.result(cell) is not None:
            self._log_cell(cell, again=True)
        elif cell.id in self._children:
            self._client().set_terminated(self._children[cell.id], "KILLED")

    def _close(self, complete: bool) -> None:
        self._client().log_artifact(self._parent, str(self._folder.path / RESULTS_FILE))
        self._client().set_terminated(self._parent, "FINISHED" if complete else "KILLED")

    def _open_parent(self) -> None:
        client = self._client()
        self._experiment = find_experiment(client, self._uri, f"rank-search/{self._config.name}", self._folder)
        self._children = {run.data.tags[CELL_TAG]: run.info.run_id for run in self._search()}
        self._parent = self._children.pop(PARENT, "")
        if self._parent:
            client.update_run(self._parent, "RUNNING")
            return
        tags = {RUN_TAG: self._folder.id, CELL_TAG: PARENT, "rank_search.folder": str(self._folder.path)}
        self._parent = client.create_run(self._experiment, tags=tags, run_name=self._config.name).info.run_id
        client.log_artifact(self._parent, str(self._folder.path / CONFIG_FILE))

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
        if not self._parent:
            self._open_parent()
        if cell.id not in self._children:
            tags = {RUN_TAG: self._folder.id, CELL_TAG: cell.id, "mlflow.parentRunId": self._parent}
            run = self._client().create_run(self._experiment, tags=tags, run_name=cell.folder)
            self._children[cell.id] = run.info.run_id
            self._log_params(run.info.run_id, cell)
        return self._children[cell.id]

    def _log_params(self, run_id: str, cell: Cell) -> None:
        from mlflow.entities import Param

        values = {"task": cell.task, "budget": cell.budget, "searcher": cell.searcher.title, "seed": cell.seed}
        values |= {f"option.{key}": value for key, value in cell.searcher.options.items()}
        self._client().log_batch(
            run_id, params=[Param(key, str(value)[:LONGEST_PARAM]) for key, value in values.items()]
        )

    def _log_cell(self, cell: Cell, again: bool) -> None:
        """Logs a cell that has ended, from its files; a cell that an earlier start has logged only if told again."""
        row = self._folder.result(cell)
        if row is None:
            return
        client, run_id, place = self._client(), self._child(cell), self._folder.cell(cell)
        if not again and client.get_run(run_id).info.status == "FINISHED":
            self._logged.add(cell.id)
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
        self._logged.add(cell.id)

    def _client(self) -> Any:
        if self._client_ is None:
            self._client_ = open_client(self._uri)
        return self._client_

    def _attempt(self, action: Callable[[], object]) -> None:
        """Runs an action; MLflow's refusal is said once and loses nothing."""
        started = time.monotonic()
        if started < self._silent_until:
            return
        try:
            action()
        except Exception as error:
            self._rest(started)
            if not self._warned:
                self._warned = True
                logging.getLogger("rank_search").warning(
                    "MLflow at %s refused: %s. Results are safe in %s; --resume logs them again.",
                    self._path or self._uri,
                    first_line(error),
                    self._folder.path,
                )

    def _rest(self, started: float) -> None:
        """Asks no more, until the end of the run, of a database that is lost; for a while, of a server that is slow.

        Args:
            started: when it was asked for what it has refused.
        """
        if self._path is None:
            if time.monotonic() - started > PATIENCE:
                self._silent_until = time.monotonic() + REST
            return
        try:
            if self._client_ is not None:
                check_database(self._path)
                return
        except Exception:
            pass
        self._silent_until = math.inf
        self._client_, self._parent, self._children = None, "", {}
