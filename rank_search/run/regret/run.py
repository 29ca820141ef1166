"""Running a benchmark of regret: its searches over Ray's workers, a row each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import yaml

from rank_search.errors import RunError
from rank_search.files import write_text
from rank_search.records.schema import CONFIG_FILE
from rank_search.run.lock import contents, only_writer
from rank_search.run.ray_map import mapped_jobs
from rank_search.run.regret.config import RegretConfig
from rank_search.run.regret.search_cell import Cell, search_cell
from rank_search.searching import searchers
from rank_search.searching.search import check_options

REGRET_FILE = "regret.csv"
SEEDS_AT_ONCE = 10  # of one cell, in one job of a worker


def run_regret(
    config: RegretConfig,
    output: Path,
    in_process: bool = False,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Runs all searches and writes ``regret.csv`` beside the config.

    Args:
        config: what to run.
        output: a new or empty folder.
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
    if contents(output):
        raise RunError(f"{output} is not empty: give another folder with --output")
    with only_writer(output):
        write_text(output / CONFIG_FILE, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        rows: list[dict[str, object]] = []
        for done, found in enumerate(mapped_jobs(search_cell, cells, config.run, in_process), start=1):
            rows += found
            tell(done, len(cells))
        write_text(output / REGRET_FILE, _table(config, rows).to_csv(index=False))
    return output


def _parts(seeds: range) -> list[range]:
    return [seeds[start : start + SEEDS_AT_ONCE] for start in range(0, len(seeds), SEEDS_AT_ONCE)]


def _table(config: RegretConfig, rows: list[dict[str, object]]) -> pd.DataFrame:
    """The rows in the order of the config, whatever finished first."""
    tasks, arms = list(config.regret), [arm.title for arm in config.searchers]
    frame = pd.DataFrame(rows)
    order = frame.assign(task=frame["task"].map(tasks.index), searcher=frame["searcher"].map(arms.index))
    return frame.loc[order.sort_values(["task", "budget", "searcher", "seed"], kind="stable").index]
