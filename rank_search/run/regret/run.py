"""Running a benchmark of regret: its searches over Ray's workers, a row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from rank_search.errors import RunError
from rank_search.files import write_json, write_text
from rank_search.records.schema import COMMAND, CONFIG_FILE, REGRET_FILE, RUN_FILE, VERSIONS
from rank_search.run.lock import contents, only_writer
from rank_search.run.ray_map import mapped_jobs
from rank_search.run.regret.config import RegretConfig
from rank_search.run.regret.search_cell import Cell, search_cell
from rank_search.run.versions import note_other_versions, versions
from rank_search.searching import searchers
from rank_search.searching.search import check_options
from rank_search.space import Budget

SEEDS_AT_ONCE = 10  # of one cell, in one job of a worker


def run_regret(
    config: RegretConfig,
    output: Path,
    resume: bool = False,
    in_process: bool = False,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Runs all searches; ``regret.csv`` beside the config has those that are done.

    Args:
        config: what to run.
        output: a new or empty folder.
        resume: go on with the benchmark in that folder: searches that are done are not run again.
        in_process: without Ray; the results are the same.
        tell: hears how many jobs of how many are done.

    Returns:
        The folder.

    Raises:
        RankSearchError: if it cannot start.
    """
    for arm in config.searchers:
        check_options(searchers.get(arm.name), arm.options)
    cells = [
        Cell(task, bounds, arm, tuple(part), tuple(config.evaluations), config.run.threads)
        for arm in sorted(config.searchers, key=lambda arm: arm.seeds or config.seeds)  # the slow ones first
        for task, budgets in config.regret.items()
        for bounds in budgets
        for part in _parts(range(arm.seeds or config.seeds))
    ]
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    rows = _before(output, text) if resume else _nothing(output)
    rows = [row for row in rows if row["status"] == "done"]
    known = set(map(_name, rows))
    left = [cell for cell in cells if not names_of(cell) <= known]
    with only_writer(output):
        if resume:
            note_other_versions(output / RUN_FILE)
        else:
            write_json(output / RUN_FILE, {COMMAND: "bench", VERSIONS: versions()})
        write_text(output / CONFIG_FILE, text)
        tell(len(cells) - len(left), len(cells))
        for done, found in enumerate(mapped_jobs(search_cell, left, config.run, in_process), start=1):
            again = set(map(_name, found))
            rows = [row for row in rows if _name(row) not in again]
            rows += found
            write_text(output / REGRET_FILE, _table(config, rows).to_csv(index=False))
            tell(len(cells) - len(left) + done, len(cells))
    return output


def names_of(cell: Cell) -> set[tuple[str, str, str, int]]:
    """What the rows of a cell are called."""
    return {(cell.task, str(Budget(**cell.bounds)), cell.arm.title, seed) for seed in cell.seeds}


def _name(row: Mapping[str, Any]) -> tuple[str, str, str, int]:
    return row["task"], row["budget"], row["searcher"], row["seed"]


def _nothing(output: Path) -> list[dict[str, Any]]:
    if contents(output):
        raise RunError(f"{output} is not empty: give another folder with --output, or go on with --resume")
    return []


def _before(output: Path, text: str) -> list[dict[str, Any]]:
    """The rows of an interrupted benchmark.

    Raises:
        RunError: if there is none, or it was of another config.
    """
    if not (output / CONFIG_FILE).is_file():
        raise RunError(f"there is no benchmark of regret to resume in {output}")
    before, now = (yaml.safe_load(found) for found in ((output / CONFIG_FILE).read_text(encoding="utf-8"), text))
    for key in now:
        if key != "run" and before.get(key) != now[key]:
            raise RunError(f"{output} was started from another config: {key!r} differs")
    if not (output / REGRET_FILE).is_file():
        return []
    frame = pd.read_csv(output / REGRET_FILE, dtype={"task": str, "budget": str, "searcher": str})
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _parts(seeds: range) -> list[range]:
    return [seeds[start : start + SEEDS_AT_ONCE] for start in range(0, len(seeds), SEEDS_AT_ONCE)]


def _table(config: RegretConfig, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows in the order of the config, whatever finished first."""
    tasks, arms = list(config.regret), [arm.title for arm in config.searchers]
    frame = pd.DataFrame(rows)
    order = frame.assign(task=frame["task"].map(tasks.index), searcher=frame["searcher"].map(arms.index))
    return frame.loc[order.sort_values(["task", "budget", "searcher", "seed"], kind="stable").index]
