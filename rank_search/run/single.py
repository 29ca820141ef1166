"""One search from the command line: the same steps as a cell of a bench, into a folder of its own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import BudgetError, ConfigError, OperationError, RunError
from rank_search.files import read_json, storage_errors
from rank_search.plugins import nearest
from rank_search.records.results import write_results
from rank_search.records.schema import CHECKPOINT_FILE, CONFIG_FILE, RESULT_FILE
from rank_search.run.bench import check_searchers, prepare
from rank_search.run.cells import Cell, expand
from rank_search.run.config import Config, SearcherConfig, with_budgeted_metrics
from rank_search.run.dense_network import DENSE_WEIGHTS
from rank_search.run.folder import RunFolder
from rank_search.run.lock import contents, only_writer
from rank_search.run.ray_start import look_for
from rank_search.run.run_cell import run_cell
from rank_search.run.shared_task import forget
from rank_search.run.target_latency import LATENCIES
from rank_search.space import Budget
from rank_search.space.budget import Bound
from rank_search.threads import limited_threads

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
    (row,) = run_several(config, task, searcher, [parse_budget(budget)], seed, output, resume, workers, parallel)
    return row


def run_several(
    config: Config,
    task: str | None,
    searcher: str,
    budgets: Sequence[Budget],
    seed: int,
    output: str | Path,
    resume: bool = False,
    workers: int | None = None,
    parallel: int | None = None,
) -> list[dict[str, Any]]:
    """The same under several budgets, in one space: a curve of what is kept against what it costs.

    Args:
        budgets: each once; with more than one, ``output`` is a run folder as a bench leaves it, with a cell for each.
        config, task, searcher, seed, output, resume, workers, parallel: as in :func:`run_single`.

    Returns:
        A row for every budget, in their order.

    Raises:
        RankSearchError: as there; of several searches only if all failed.
    """
    target = RunFolder(Path(output).resolve()).path  # a link stays, what it points to is filled
    if not RunFolder(target).is_locked:
        check_output(target, resume)
    name = task or next(iter(config.tasks))
    if name not in config.tasks:
        raise ConfigError(
            f"there is no task {name!r}{nearest(name, config.tasks)}; it is one of {', '.join(config.tasks)}"
        )
    check_different(budgets)
    arm = _arm(config, searcher, workers, parallel)
    if config.run.ray_address is not None and arm.workers > 1:
        look_for(config.run.ray_address)
    one = config.model_copy(
        update={
            "tasks": {name: config.tasks[name]},
            "budgets": [budget.to_dict() for budget in budgets],
            "searchers": [arm],
            "seeds": [seed],
        }
    )
    one = with_budgeted_metrics(one)
    check_searchers(one)
    cells = expand(one)
    with only_writer(target):
        check_output(target, resume)
        return _run(one, cells, target, resume)


def _arm(config: Config, searcher: str, workers: int | None, parallel: int | None) -> SearcherConfig:
    """The arm of that label, or one of that name, with other workers."""
    arm = next((arm for arm in config.searchers if arm.title == searcher), SearcherConfig(name=searcher))
    for name, value in (("workers", workers), ("parallel", parallel)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value} is not allowed: it is a whole number from 1")
    changed = {"workers": workers or arm.workers, "parallel": parallel or max(arm.parallel, workers or 1)}
    return arm.model_copy(update=changed)


def check_output(output: Path, resume: bool) -> None:
    """Looks whether a search can begin here, or go on.

    Raises:
        RunError: if not; says what to do.
    """
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


def _run(config: Config, cells: list[Cell], output: Path, resume: bool) -> list[dict[str, Any]]:
    """Runs the cells in a folder inside of ``output``, whose files take their place at the end."""
    folder = RunFolder(output / UNFINISHED)
    try:
        if resume:
            folder.reopen(config)
        else:
            folder.create(config, command="search")
        prepare(config, folder)
        rows = [_row(config, cell, folder) for cell in cells]
        failed = [row["reason"] for row in rows if row["status"] != "done"]
        if len(failed) == len(rows):
            raise OperationError(failed[0])
        with storage_errors(output):
            if len(cells) == 1:
                _move(folder.cell(cells[0]), output, CHECKPOINT_FILE)
                task = folder.task(cells[0].task)
                for path in (task / DENSE_WEIGHTS, task / LATENCIES, folder.path / CONFIG_FILE):
                    if path.exists():
                        path.rename(output / path.name)  # what an export needs, and where kept times come from
            else:
                write_results(folder.path, rows)
                _move(folder.path, output)
    except KeyboardInterrupt:
        raise
    except BaseException:
        if not resume:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
    finally:
        forget(folder)
    shutil.rmtree(folder.path, ignore_errors=True)
    return rows


def _move(source: Path, place: Path, but: str = "") -> None:
    """Puts everything in a folder where it belongs, but for one file."""
    for path in source.iterdir():
        if path.name != but:
            path.rename(place / path.name)


def _row(config: Config, cell: Cell, folder: RunFolder) -> dict[str, Any]:
    """Runs the cell in this process, its evaluations where the workers are; of one that is done its row is read."""
    done = folder.cell(cell) / RESULT_FILE
    if done.exists():
        row: dict[str, Any] = read_json(done)
        return row
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
    bounds: dict[str, Bound] = {}
    for part in text.split(","):
        metric, _, value = part.partition("=")
        try:
            number = yaml.safe_load(value) if value else None
        except yaml.YAMLError:
            number = None
        if not isinstance(number, int | float | str):
            raise BudgetError(f"--budget {text!r} is not of the form metric=number, e.g. macs=0.3 or latency_ms=0.35ms")
        if metric.strip() in bounds:
            raise BudgetError(f"--budget {text!r} bounds {metric.strip()} twice: give one number for each metric")
        bounds[metric.strip()] = number
    return Budget(**bounds)


def check_different(budgets: Sequence[Budget]) -> None:
    """Looks whether a budget stands twice.

    Raises:
        BudgetError: naming the first that does.
    """
    twice = [str(budget) for budget in budgets if list(budgets).count(budget) > 1]
    if twice:
        raise BudgetError(f"the budget {twice[0]} stands twice: give each once")


RANGE = re.compile(r"=([^,:=]+):([^,:=]+):([^,:=]+)")
MOST_BUDGETS = 100


def parse_budgets(texts: Sequence[str]) -> list[Budget]:
    """Reads several budgets, each as :func:`parse_budget` does, or with a range: ``macs=0.2:0.8:0.1`` is seven.

    Raises:
        BudgetError: for anything else.
    """
    return [parse_budget(one) for text in texts for one in _spelled_out(text)]


def _spelled_out(text: str) -> list[str]:
    ranges = RANGE.findall(text)
    if not ranges:
        return [text]
    wrong = BudgetError(
        f"--budget {text!r}: a range is first:last:step, such as macs=0.2:0.8:0.1; one in a budget, of at most "
        f"{MOST_BUDGETS} steps"
    )
    try:
        first, last, step = (Decimal(value) for value in ranges[0])
    except InvalidOperation:
        raise wrong from None
    finite = all(value.is_finite() for value in (first, last, step))
    if len(ranges) > 1 or not finite or step <= 0 or first > last or (last - first) / step > MOST_BUDGETS - 1:
        raise wrong
    values = [first + step * number for number in range(int((last - first) / step) + 1)]
    return [RANGE.sub(f"={value}", text) for value in values]
