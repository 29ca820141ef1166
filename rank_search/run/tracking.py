"""MLflow: one parent run for a bench, a child run per cell, found by tag before they are made, none left RUNNING.

Everything goes through the driver's client to ONE absolute URI. Tracking never loses a result: what MLflow refuses
while cells run is said once and tried again when the run ends or is resumed, from the files in the run folder.
"""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rank_search.errors import TrackingError
from rank_search.records.schema import (
    CONFIG_FILE,
    PLAN_FILE,
    RESULT_FILE,
    STEP_NUMBERS,
    STEP_TEXTS,
    STEPS_FILE,
    TRACE_FILE,
    WEIGHTS_FILE,
    is_number_of_results,
)
from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.observer import Observer

RUN_TAG, CELL_TAG = "rank_search.run", "rank_search.cell"
PARENT = "bench"
BATCH = 900  # MLflow takes at most 1000 metrics a call
UNLOGGED = {*STEP_TEXTS, *STEP_NUMBERS} - {"score", "incumbent_score"}  # columns of steps that count, or are texts


def database_uri(folder: Path) -> str:
    """The SQLite store inside a run folder."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def make_tracking(config: Config, folder: RunFolder) -> Observer:
    """The tracker that the config asks for, after a server has answered.

    Raises:
        TrackingError: if the server cannot be reached.
    """
    uri = config.run.tracking
    if uri == "none":
        return Observer()
    if uri is None:
        return MlflowTracking(config, folder, database_uri(folder.path))
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
        uri: absolute tracking URI.
    """

    def __init__(self, config: Config, folder: RunFolder, uri: str) -> None:
        self._config, self._folder, self._uri = config, folder, uri
        self._client_: Any = None
        self._experiment = self._parent = ""
        self._children: dict[str, str] = {}
        self._cells: list[Cell] = []
        self._logged: set[str] = set()
        self._warned = False

    def check(self) -> None:
        """Asks the server for an answer.

        Raises:
            TrackingError: if there is none.
        """
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        try:
            self._client().search_experiments(max_results=1)
        except Exception as error:
            reason = _first_line(error)
            raise TrackingError(
                f"the tracking server {self._uri} does not answer: {reason}; start it, or run with "
                "--set run.tracking=none"
            ) from None

    def begin(self, cells: Sequence[Cell], finished: Sequence[Cell]) -> None:
        self._cells = list(cells)
        self._attempt(self._open_parent)
        for cell in finished:
            self._attempt(lambda cell=cell: self._log_cell(cell, again=False))

    def progress(self, cell: Cell, evaluations: int, incumbent: float | None) -> None:
        if cell.id not in self._children:
            self._attempt(lambda: self._child(cell))

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self._attempt(lambda: self._log_cell(cell, again=True))

    def end(self, complete: bool) -> None:
        self._attempt(lambda: self._close(complete))

    def _close(self, complete: bool) -> None:
        if not self._parent:
            self._open_parent()
        for cell in self._cells:
            if cell.id in self._logged:
                continue
            if self._folder.result(cell) is not None:
                self._log_cell(cell, again=True)
            elif cell.id in self._children:
                self._client().set_terminated(self._children[cell.id], "KILLED")
        self._client().log_artifact(self._parent, str(self._folder.path / "results.csv"))
        self._client().set_terminated(self._parent, "FINISHED" if complete else "KILLED")

    def _open_parent(self) -> None:
        client, name = self._client(), f"rank-search/{self._config.name}"
        found = client.get_experiment_by_name(name)
        if found is not None:
            self._experiment = found.experiment_id
        elif self._uri.startswith("sqlite:"):
            self._experiment = client.create_experiment(name, (self._folder.path / "mlartifacts").as_uri())
        else:
            self._experiment = client.create_experiment(name)
        self._children = {
            run.data.tags[CELL_TAG]: run.info.run_id for run in self._search() if run.data.tags[CELL_TAG] != PARENT
        }
        parents = [run for run in self._search() if run.data.tags[CELL_TAG] == PARENT]
        if parents:
            self._parent = parents[0].info.run_id
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
            run = self._client().create_run(self._experiment, tags=tags, run_name=cell.id)
            self._children[cell.id] = run.info.run_id
            self._log_params(run.info.run_id, cell)
        return self._children[cell.id]

    def _log_params(self, run_id: str, cell: Cell) -> None:
        from mlflow.entities import Param

        values = {"task": cell.task, "budget": cell.budget, "searcher": cell.searcher.title, "seed": cell.seed}
        values |= {f"option.{key}": value for key, value in cell.searcher.options.items()}
        self._client().log_batch(run_id, params=[Param(key, str(value)) for key, value in values.items()])

    def _log_cell(self, cell: Cell, again: bool) -> None:
        """Logs a cell that has ended, from its files; a cell that an earlier start has logged only if told again."""
        from mlflow.entities import Metric

        row = self._folder.result(cell)
        if row is None:
            return
        client, run_id, place = self._client(), self._child(cell), self._folder.cell(cell)
        if not again and client.get_run(run_id).info.status == "FINISHED":
            self._logged.add(cell.id)
            return
        numbers = [key for key in row if key != "seed" and is_number_of_results(key) and row[key] is not None]
        metrics = [Metric(key, float(row[key]), 0, 0) for key in numbers]
        if (place / STEPS_FILE).exists():
            with (place / STEPS_FILE).open(newline="") as file:
                for step in csv.DictReader(file):
                    for key in step:
                        if key not in UNLOGGED and step[key] and _is_number(step[key]):
                            metrics.append(Metric(f"search/{key}", float(step[key]), 0, int(step["step"])))
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
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)
            self._client_ = MlflowClient(tracking_uri=self._uri)
        return self._client_

    def _attempt(self, action: Any) -> None:
        """Runs an action; MLflow's refusal is said once and loses nothing."""
        try:
            action()
        except Exception as error:
            if not self._warned:
                self._warned = True
                reason = _first_line(error)
                logging.getLogger("rank_search").warning(
                    "MLflow at %s refused: %s. Results are safe in %s; --resume logs them again.",
                    self._uri,
                    reason,
                    self._folder.path,
                )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
