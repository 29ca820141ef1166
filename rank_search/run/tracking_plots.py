"""What a report draws, in MLflow, too: plots and page are written when the bench has ended."""

from __future__ import annotations

import logging
from functools import cache

from rank_search.records.schema import PAGE_FILE, PLOTS
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.tracking_database import database_path, database_uri, first_line, open_client
from rank_search.run.tracking_queue import JobQueue, Refusal
from rank_search.run.tracking_runs import MlflowRuns

SECONDS = 15.0  # in all


def log_report(config: Config, folder: RunFolder) -> None:
    """Logs plots and page as artifacts of the run's parent; what MLflow refuses is said in a line.

    Args:
        config: of the run.
        folder: of the run; what is not in it is not logged.
    """
    page = folder.path / PAGE_FILE
    plots, pages = sorted((folder.path / PLOTS).glob("*.png")), [page] if page.is_file() else []
    if config.run.tracking == "none" or not (plots or pages):
        return
    uri = config.run.tracking or database_uri(folder.path)
    path = database_path(uri)
    if path is not None and not path.exists():
        return
    errors: list[Exception] = []
    runs = MlflowRuns(config, folder, uri, cache(lambda: open_client(uri)))
    queue = JobQueue(lambda error: Refusal.OUTAGE, lambda error, refusal: errors.append(error))
    queue.put("report", lambda: runs.log_report(plots, pages))
    queue.start()
    if not queue.drain(SECONDS, SECONDS):
        why = first_line(errors[-1]) if errors else f"no answer in {SECONDS:g} s"
        logging.getLogger("rank_search").warning(
            "MLflow has not all plots and pages of this run: %s. They are in the run folder.", why
        )
    queue.close()
