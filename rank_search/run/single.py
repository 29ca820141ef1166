"""One search from the command line: the same steps as a cell of a bench, into a folder of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import BudgetError, ConfigError, OperationError, RunError
from rank_search.files import storage_errors
from rank_search.plugins import nearest
from rank_search.records.schema import CHECKPOINT_FILE
from rank_search.run.bench import check_searchers, prepare
from rank_search.run.cells import Cell, expand
from rank_search.run.config import Config, SearcherConfig, with_budgeted_metrics
from rank_search.run.folder import RunFolder
from rank_search.run.lock import contents, forget_lock, only_writer
from rank_search.run.run_cell import run_cell
from rank_search.run.threads import limited_threads
from rank_search.space import Budget


def run_single(
    config: Config, task: str | None, searcher: str, budget: str, seed: int, output: str | Path
) -> dict[str, Any]:
    """Searches, fine-tunes, and moves the finished folder to ``output``.

    Args:
        config: where the task, its limits and options come from; an arm of the config may be named by its label.
        task: its name; None is the first.
        searcher: a label of the config, a registered name, or ``module:Class``.
        budget: such as ``macs=0.3``.
        seed: of the search and the fine-tune.
        output: a folder that is new or empty.

    Returns:
        The row that a bench would write.

    Raises:
        RankSearchError: if anything is wrong; nothing is left behind.
    """
    target = RunFolder(Path(output).resolve())  # a link stays, what it points to is replaced
    if not target.is_locked:
        _check_empty(target.path)
    name = task or next(iter(config.tasks))
    if name not in config.tasks:
        raise ConfigError(
            f"there is no task {name!r}{nearest(name, config.tasks)}; it is one of {', '.join(config.tasks)}"
        )
    arm = next((arm for arm in config.searchers if arm.title == searcher), SearcherConfig(name=searcher))
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
    with only_writer(target.path):
        _check_empty(target.path)
        return _run(one, cell, target.path)


def _check_empty(output: Path) -> None:
    with storage_errors(output):
        if output.exists() and (not output.is_dir() or contents(output)):
            raise RunError(f"{output} is not empty: give a new folder with --output")


def _run(config: Config, cell: Cell, output: Path) -> dict[str, Any]:
    """Runs the cell in a folder beside ``output``, which takes its place at the end."""
    with storage_errors(output):
        working = tempfile.TemporaryDirectory(dir=output.parent, prefix=".rank-search-")
    with working:
        folder = RunFolder(Path(working.name) / "run")
        folder.create(config)
        prepare(config, folder)
        with limited_threads(config.run.threads):
            row = run_cell(config, cell, folder)
        if row["status"] != "done":
            raise OperationError(row["reason"])
        (folder.cell(cell) / CHECKPOINT_FILE).unlink(missing_ok=True)
        with storage_errors(output):
            forget_lock(output)
            output.rmdir()
            folder.cell(cell).rename(output)
    return row


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
