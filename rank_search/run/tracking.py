"""MLflow: one parent run for a bench, a child run per cell, found by tag before they are made, none left RUNNING.

Everything goes through the driver's client to ONE absolute URI, in one thread beside the bench. Tracking never loses a
result and never holds a run up: while nobody answers, what is to be logged waits in a queue; what is left at the end is
said, and logged by a resume, from the files in the run folder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rank_search.errors import TrackingError
from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.observer import Observer
from rank_search.run.tracking_database import (
    check_database,
    database_path,
    database_uri,
    first_line,
    import_mlflow,
    open_client,
    open_own_client,
)
from rank_search.run.tracking_outage import is_outage
from rank_search.run.tracking_queue import JobQueue, Refusal
from rank_search.run.tracking_runs import MlflowRuns

OPEN, CLOSE = "open", "close"
START_SECONDS = 30.0  # for the parent, before the first cell: the database of a run is made then
GRACE = 15.0  # seconds without a success, at the end of a bench
HASTE = 5.0  # seconds in all, at the end of one that was interrupted


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

    What it hears becomes a job of a queue, one a cell at a time and one each to open and to close the parent: at most
    two more than there are cells, whatever happens. A server that is away is asked again as long as the run lasts; what
    it refuses of one cell is tried once more at the end. A database that is lost is left alone until then.

    Args:
        config: of the run.
        folder: of the run.
        uri: absolute tracking URI; None for the database in the run folder, which may be made anew.
    """

    def __init__(self, config: Config, folder: RunFolder, uri: str | None = None) -> None:
        self._folder, self._own = folder, uri is None
        self._uri = uri or database_uri(folder.path)
        self._path = database_path(self._uri)
        self._client_: Any = None
        self._runs = MlflowRuns(config, folder, self._uri, self._client)
        self._queue = JobQueue(self._judge, self._say_refused, self._say_answered)
        self._cells: list[Cell] = []
        self._opened: set[str] = set()
        self._warned = self._warned_of_outage = False

    def check(self) -> None:
        """Asks the server or the database for an answer.

        Raises:
            TrackingError: if there is none.
        """
        try:
            self._client()
        except Exception as error:
            what, advice = f"the tracking server {self._uri} does not answer", "start it"
            if self._path is not None:
                what, advice = f"the tracking database {self._path} cannot be used", "move it away, give another one"
            raise TrackingError(f"{what}: {first_line(error)}; {advice}, or run with --set run.tracking=none") from None

    def begin(self, cells: Sequence[Cell], finished: Sequence[Cell]) -> None:
        import_mlflow()  # not in the thread: a search may have begun, whose random numbers and warnings it would change
        self._cells = list(cells)
        self._queue.put(OPEN, self._open)
        for cell in finished:
            self._queue.put(cell.id, partial(self._runs.log_cell, cell, again=False))
        self._queue.start()
        self._queue.wait_for(OPEN, START_SECONDS)

    def progress(self, cell: Cell, evaluations: int, incumbent: float | None) -> None:
        if cell.id not in self._opened:
            self._opened.add(cell.id)
            self._queue.put(cell.id, partial(self._runs.open_cell, cell))

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self._opened.add(cell.id)
        self._queue.put(cell.id, partial(self._runs.log_cell, cell, again=True))

    def end(self, complete: bool) -> None:
        self._runs.ending = True
        for cell in self._cells:
            if cell.id not in self._runs.logged:
                self._queue.put(cell.id, partial(self._runs.close_cell, cell))
        self._queue.put(CLOSE, partial(self._runs.close, complete), first=not complete)
        self._queue.start()
        drained = self._queue.drain(GRACE) if complete else self._queue.drain(HASTE, HASTE)
        self._queue.close()
        if not drained:
            self._say_missing()

    def _open(self) -> None:
        if self._own and self._client_ is None:
            self._client_ = open_own_client(self._folder.path)
        self._runs.open()

    def _client(self) -> Any:
        if self._client_ is None:
            self._client_ = open_client(self._uri)
        return self._client_

    def _judge(self, error: Exception) -> Refusal:
        self._runs.forget()
        if self._path is None:
            return Refusal.OUTAGE if is_outage(error) else Refusal.OWN
        try:
            if self._client_ is not None:
                check_database(self._path)
                return Refusal.OWN
        except Exception:
            pass
        self._client_ = None
        return Refusal.LOST

    def _say_refused(self, error: Exception, refusal: Refusal) -> None:
        if self._warned:
            return
        self._warned, self._warned_of_outage = True, refusal is Refusal.OUTAGE
        logging.getLogger("rank_search").warning(
            "MLflow at %s refused: %s. Results are safe in %s; %s--resume logs them again.",
            self._path or self._uri,
            first_line(error),
            self._folder.path,
            "it is asked again while the run lasts, and " if refusal is Refusal.OUTAGE else "",
        )

    def _say_answered(self) -> None:
        if self._warned_of_outage:
            self._warned_of_outage = False
            logging.getLogger("rank_search").warning("MLflow at %s answers again.", self._uri)

    def _say_missing(self) -> None:
        """Of a server; what is said first of a database, which does not come back, says as much."""
        if self._path is not None:
            return
        ended = [cell for cell in self._cells if self._folder.result(cell) is not None]
        missing = len([cell for cell in ended if cell.id not in self._runs.logged])
        what = f"{missing} of {len(ended)} cells not logged" if missing else "the end of the bench is not logged"
        logging.getLogger("rank_search").warning(
            "MLflow at %s: %s; --resume does it, from the files in %s.", self._uri, what, self._folder.path
        )
