"""The workers of one search: actors on Ray that make its task from the prepared one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.ray_start import connected
from rank_search.run.ray_workers import RayWorkers
from rank_search.run.remote_run import RemoteRun, remote_run
from rank_search.run.resources import check_room, cpus_of_this_machine, of_actor
from rank_search.run.worker_folder import settle
from rank_search.searching import Workers
from rank_search.task import Task


@contextmanager
def workers_on(run: RemoteRun, cell: Cell) -> Iterator[Workers | None]:
    """The workers of a cell; None where it evaluates by itself."""
    settings = run.config.run
    if cell.searcher.workers == 1:
        yield None
        return
    with RayWorkers(partial(_task, run, cell), cell.searcher.workers, of_actor(settings), settings.threads) as workers:
        yield workers


@contextmanager
def joined_workers(config: Config, cell: Cell, folder: RunFolder) -> Iterator[Workers | None]:
    """The workers of a search that this process drives; Ray is started, or joined, for them.

    Raises:
        RunError: if Ray cannot be started, or lacks what they need.
    """
    alone = config.run.model_copy(update={"workers": 1})
    cpus = cpus_of_this_machine(alone, config.searchers)
    with connected(config.run, cpus) as ray:
        check_room(config, ray.nodes())
        with workers_on(remote_run(ray, config, folder, uuid.uuid4().hex), cell) as workers:
            yield workers


def _task(run: RemoteRun, cell: Cell) -> Task:
    """In an actor: the task of a cell's search."""
    from rank_search.run.shared_task import shared

    folder = settle(run)
    return shared(run.config, cell, folder).task.under(cell.budget, cell.seed)
