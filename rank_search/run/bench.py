"""A bench: every cell of a config, watched, tracked, resumable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rank_search.errors import InfeasibleBudgetError, InvalidInputError, OperationError, RankSearchError, RunError
from rank_search.run.cells import Cell, expand
from rank_search.run.config import Config, SearcherConfig, TaskConfig
from rank_search.run.folder import RunFolder
from rank_search.run.lock import only_writer
from rank_search.run.observer import Observer, Observers
from rank_search.run.prepare import prepare_task
from rank_search.run.ray_start import look_for
from rank_search.run.shared_task import forget, share
from rank_search.run.tracking import make_tracking
from rank_search.searching import AskTellSearcher, searchers
from rank_search.searching.search import check_options, make_searcher
from rank_search.space import Budget
from rank_search.task import Task
from rank_search.task.digest import changed, task_digest
from rank_search.threads import limited_threads


def bench(
    config: Config,
    output: str | Path | None = None,
    resume: bool = False,
    in_process: bool = False,
    observer: Observer | None = None,
) -> Path:
    """Runs all cells of a config that are not finished yet.

    Args:
        config: what to run.
        output: the run folder; ``runs/<name of the config>`` unless told.
        resume: go on with the run in that folder.
        in_process: one cell after another in this process, without Ray; the results are the same.
        observer: hears the progress.

    Returns:
        The run folder.

    Raises:
        RankSearchError: if the run cannot start (nothing is left behind then; another process that writes into the
            folder is one reason) or cannot go on (finished cells stay).
        KeyboardInterrupt: if the user interrupted; finished cells stay.
    """
    check_searchers(config)
    folder, cells = RunFolder(output or Path("runs") / config.name), expand(config)
    if resume:
        folder.check_run()
    elif not folder.is_locked:
        folder.check_new()
    if config.run.ray_address is not None and not in_process:
        look_for(config.run.ray_address)
    tracking = make_tracking(config, folder)
    with only_writer(folder.path):
        try:
            _begin(config, cells, folder, resume, in_process)
            watching = Observers(_ResultsWriter(folder, cells), tracking, observer or Observer())
            try:
                _run(config, cells, folder, watching, in_process)
            except RunError:
                if not resume and not folder.begun:
                    folder.remove()
                raise
        finally:
            forget(folder)
    return folder.path


def _begin(config: Config, cells: list[Cell], folder: RunFolder, resume: bool, in_process: bool) -> None:
    """The folder with its tasks; a new one that cannot be prepared is not left behind."""
    if resume:
        folder.reopen(config)
        prepare(config, folder, in_process)
        return
    folder.create(config, cells)
    try:
        prepare(config, folder, in_process)
    except BaseException:
        folder.remove()
        raise


def _run(config: Config, cells: list[Cell], folder: RunFolder, watching: Observer, in_process: bool) -> None:
    """Runs the cells that are not finished."""
    finished = [cell for cell in cells if folder.finished(cell)]
    complete = False
    try:
        watching.begin(cells, finished)
        left = [cell for cell in cells if cell not in finished]
        if left and in_process:
            from rank_search.run.in_process import run_in_process

            run_in_process(config, left, folder, watching)
        elif left:
            from rank_search.run.ray_tune import run_on_ray

            run_on_ray(config, left, folder, watching)
        complete = True
    finally:
        watching.end(complete)


def check_searchers(config: Config) -> None:
    """Resolves every searcher and checks the names of its options.

    Raises:
        UnknownNameError, PluginError, InvalidInputError
    """
    for arm in config.searchers:
        found = searchers.get(arm.name)
        check_options(found, arm.options)
        if (arm.workers > 1 or arm.fidelity is not None) and not issubclass(found, AskTellSearcher):
            what = "workers of their own" if arm.workers > 1 else "a fidelity"
            raise InvalidInputError(
                f"searcher {arm.title!r} goes its own way, step by step: only those that ask and are told can have "
                f"{what}"
            )
    for name, task in config.tasks.items():
        for arm in config.searchers:
            _check_training(name, task, arm)


def _check_training(name: str, task: TaskConfig, arm: SearcherConfig) -> None:
    """Looks whether an arm that trains several plans fits the task's recipe.

    Raises:
        InvalidInputError
    """
    epochs = task.finetune.epochs
    if arm.fidelity is not None:
        try:
            arm.fidelity.rungs(epochs)
        except InvalidInputError as error:
            error.args = (f"searcher {arm.title!r}, task {name!r}: {error}",)
            raise
    if task.equal_training and 0 < epochs < arm.top_k:
        raise InvalidInputError(
            f"searcher {arm.title!r}: top_k={arm.top_k} plans cannot share the {epochs} epochs of task {name!r}: lower "
            "top_k, raise finetune.epochs, or set equal_training to false"
        )


def prepare(config: Config, folder: RunFolder, in_process: bool = True) -> None:
    """Makes every task of the config ready, with the threads of a cell.

    Args:
        config, folder: of the run.
        in_process: whether cells will run in this process: they are given the tasks.

    Raises:
        RankSearchError: names the task.
    """
    for name in config.tasks:
        try:
            with limited_threads(config.run.threads):
                prepared = prepare_task(config, name, folder.task(name))
                before = task_digest(prepared.task)
                _try_searchers(config, prepared.task)
                if in_process and not changed(before, task_digest(prepared.task)):
                    share(prepared, name, folder)
        except RankSearchError as error:
            error.args = (f"task {name!r}: {error}",)
            raise


def _try_searchers(config: Config, task: Task) -> None:
    """Makes every searcher once, so that a wrong option value is said before any cell runs.

    Raises:
        InvalidInputError: names the searcher. A budget that only some methods meet, and what a constructor raises
            beside bad input, is left to the cells.
    """
    for arm in config.searchers:
        try:
            make_searcher(task.under(Budget(**config.budgets[0])), arm.name, config.seeds[0], **arm.options)
        except (InfeasibleBudgetError, OperationError):
            continue
        except InvalidInputError as error:
            error.args = (f"searcher {arm.title!r}: {error}",)
            raise


class _ResultsWriter(Observer):
    """Keeps ``results.csv`` up to date, so that a kill loses no finished cell."""

    def __init__(self, folder: RunFolder, cells: list[Cell]) -> None:
        self._folder, self._cells = folder, cells

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self._folder.write_results(self._cells)

    def end(self, complete: bool) -> None:
        self._folder.write_results(self._cells)
