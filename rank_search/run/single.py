"""One search from the command line: the same steps as a cell of a bench, into a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import BudgetError, ConfigError, OperationError, RunError
from rank_search.files import storage_errors
from rank_search.plugins import nearest
from rank_search.records.schema import CHECKPOINT_FILE, CONFIG_FILE
from rank_search.run.bench import check_searchers, prepare
from rank_search.run.cells import Cell, expand
from rank_search.run.config import Config, SearcherConfig, with_budgeted_metrics
from rank_search.run.folder import RunFolder
from rank_search.run.lock import contents, only_writer
from rank_search.run.prepare import DENSE_WEIGHTS
from rank_search.run.ray_start import look_for
from rank_search.run.run_cell import run_cell
from rank_search.run.threads import limited_threads
from rank_search.space import Budget

UNFINISHED = ".unfinished"
"""The run folder of a search under way, inside of the folder of its answer."""


def run_single(
    config: Config,
    task: str | None,
    searcher: str,
    budget: str,
    seed: int,
    output: str | Path,
    resume: bool = False,
    workers: int | None = None,
    parallel: int | None = None,
) -> dict[str, Any]:
    """Searches, fine-tunes, and leaves the compressed network in ``output``, with its config and the dense weights.

    Args:
        config: where the task, its limits and options come from; an arm of the config may be named by its label.
        task: its name; None is the first.
        searcher: a label of the config, a registered name, or ``module:Class``.
        budget: such as ``macs=0.3``.
        seed: of the search and the fine-tune.
        output: a folder that is new or empty.
        resume: go on with the search that was interrupted there.
        workers: processes that evaluate plans; the arm's unless told.
        parallel: plans in flight at once; the arm's, or as many as workers, unless told.

    Returns:
        The row that a bench would write.

    Raises:
        RankSearchError: if anything is wrong; nothing is left behind, unless a search is there to go on with.
        KeyboardInterrupt: if the user interrupted; what is done stays in the folder, to go on with.
    """
    target = RunFolder(Path(output).resolve()).path  # a link stays, what it points to is filled
    if not RunFolder(target).is_locked:
        _check(target, resume)
    name = task or next(iter(config.tasks))
    if name not in config.tasks:
        raise ConfigError(
            f"there is no task {name!r}{nearest(name, config.tasks)}; it is one of {', '.join(config.tasks)}"
        )
    arm = _arm(config, searcher, workers, parallel)
    if config.run.ray_address is not None and arm.workers > 1:
        look_for(config.run.ray_address)
    one = config.model_copy(
        update={
            "tasks": {name: config.tasks[name]},
            "budgets": [parse_budget(budget).to_dict()],
            "searchers": [arm],
            "seeds": [seed],
        }
    )
    one = with_budgeted_metrics(one)
    check_searchers(one)
    (cell,) = expand(one)
    with only_writer(target):
        _check(target, resume)
        return _run(one, cell, target, resume)


def _arm(config: Config, searcher: str, workers: int | None, parallel: int | None) -> SearcherConfig:
    """The arm of that label, or one of that name, with other workers."""
    arm = next((arm for arm in config.searchers if arm.title == searcher), SearcherConfig(name=searcher))
    for name, value in (("workers", workers), ("parallel", parallel)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value} is not allowed: it is a whole number from 1")
    changed = {"workers": workers or arm.workers, "parallel": parallel or max(arm.parallel, workers or 1)}
    return arm.model_copy(update=changed)


def _check(output: Path, resume: bool) -> None:
    """Looks whether a search can begin here, or go on."""
    with storage_errors(output):
        there = output.exists() and (not output.is_dir() or contents(output))
        unfinished = (output / UNFINISHED).is_dir()
    if resume and not unfinished:
        raise RunError(
            f"there is no search to resume in {output}: leave --resume out, or give its folder with --output"
        )
    if unfinished and not resume:
        raise RunError(f"{output} holds a search that was interrupted: go on with --resume, or give another --output")
    if there and not resume:
        raise RunError(f"{output} is not empty: give a new folder with --output")


def _run(config: Config, cell: Cell, output: Path, resume: bool) -> dict[str, Any]:
    """Runs the cell in a folder inside of ``output``, whose files take their place at the end."""
    folder = RunFolder(output / UNFINISHED)
    try:
        if resume:
            folder.reopen(config)
        else:
            folder.create(config)
        prepare(config, folder)
        row = _row(config, cell, folder)
        if row["status"] != "done":
            raise OperationError(row["reason"])
        with storage_errors(output):
            for path in folder.cell(cell).iterdir():
                if path.name != CHECKPOINT_FILE:
                    path.rename(output / path.name)
            for path in (folder.task(cell.task) / DENSE_WEIGHTS, folder.path / CONFIG_FILE):
                path.rename(output / path.name)  # what an export needs beside the network
    except KeyboardInterrupt:
        raise
    except BaseException:
        if not resume:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
    shutil.rmtree(folder.path, ignore_errors=True)
    return row


def _row(config: Config, cell: Cell, folder: RunFolder) -> dict[str, Any]:
    """Runs the cell in this process, its evaluations where the workers are."""
    if cell.searcher.workers == 1:
        with limited_threads(config.run.threads):
            return run_cell(config, cell, folder, stages=True)
    from rank_search.run.search_workers import joined_workers

    with joined_workers(config, cell, folder) as workers, limited_threads(config.run.threads):
        return run_cell(config, cell, folder, workers=workers, stages=True)


def parse_budget(text: str) -> Budget:
    """Reads ``macs=0.3`` or ``params=200000,macs=0.5``.

    Raises:
        BudgetError: for anything else.
    """
    bounds: dict[str, float | int] = {}
    for part in text.split(","):
        metric, _, value = part.partition("=")
        try:
            number = yaml.safe_load(value) if value else None
        except yaml.YAMLError:
            number = None
        if not isinstance(number, int | float):
            raise BudgetError(f"--budget {text!r} is not of the form metric=number, e.g. macs=0.3")
        bounds[metric.strip()] = number
    return Budget(**bounds)
