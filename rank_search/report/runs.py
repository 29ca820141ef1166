"""Results of several run folders as one table, where their numbers can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rank_search.errors import InvalidInputError, RunError
from rank_search.records.results import read_results
from rank_search.records.run_config import read_run_config
from rank_search.records.schema import measured

RUN = "run"
"""Column of the folder that a cell is in."""
SAME = 1e-9  # numbers that differ by a smaller share differ only in how they were summed
NOT_OF_A_TASK = ("metrics",)
"""Of a task's space: counted beside the others, and named by budgets too."""
NOT_OF_AN_ARM = ("workers", "label")
REPEATED = ("score", "lower_bound", "evaluations", "samples_forward", "samples_trained")
"""What a cell has again when it is run again, beside its measures and its cost; times are not."""


def read_runs(folders: Sequence[Path | str]) -> pd.DataFrame:
    """Reads the results of one or several runs; the column ``run`` says in which folder a cell is.

    Of several, tasks of one name must be the same task: definition, measure, dense measures. A searcher that was
    defined, or limited, otherwise in another run gets its run's name; one that is the same in both has the seeds of
    both. A cell that is in two runs with the same numbers is there once.

    Raises:
        RunError: if a file is missing or malformed, tasks differ, or a cell has other numbers in another run.
        InvalidInputError: if no folder is given, or one twice.
    """
    paths = [Path(folder) for folder in folders]
    if not paths or len({path.resolve() for path in paths}) < len(paths):
        raise InvalidInputError(f"{', '.join(map(str, paths)) or 'no run'}: give one run folder or more, each once")
    tables = [read_results(path).assign(**{RUN: str(path)}) for path in paths]
    if len(tables) == 1:
        return tables[0]
    configs = [read_run_config(path) for path in paths]
    for place, (path, table, config) in enumerate(zip(paths, tables, configs, strict=True)):
        for before in range(place):
            _check_tasks((paths[before], path), (tables[before], table), (configs[before], config))
    return _once(pd.concat(_with_own_names(paths, tables, configs), ignore_index=True))


def _check_tasks(
    paths: tuple[Path, Path], tables: tuple[pd.DataFrame, pd.DataFrame], configs: tuple[Mapping[str, Any], ...]
) -> None:
    one, other = tables
    for task in sorted({*one["task"]} & {*other["task"]}):
        cells = [table.loc[table["task"] == task] for table in tables]
        differs = _definition_differs(*(dict(config.get("tasks") or {}).get(task) for config in configs))
        differs = differs or _measure_differs(*cells)
        if differs:
            raise RunError(
                f"task {task} of {paths[0]} and of {paths[1]} differ in {differs}: their numbers cannot be compared; "
                "report them apart, or give the tasks names of their own"
            )


def _definition_differs(one: Any, other: Any) -> str:
    """Which key; empty if none does, or a run has no config."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return ""
    one, other = _of_task(one), _of_task(other)
    return next((str(key) for key in sorted({*one, *other}) if one.get(key) != other.get(key)), "")


def _of_task(section: Mapping[str, Any]) -> dict[str, Any]:
    space = section.get("space")
    own = {key: value for key, value in space.items() if key not in NOT_OF_A_TASK} if isinstance(space, dict) else space
    return {**section, "space": own}


def _measure_differs(one: pd.DataFrame, other: pd.DataFrame) -> str:
    said = ["/".join(map(str, cells.iloc[0][["measure", "better", "unit"]])) for cells in (one, other)]
    if said[0] != said[1]:
        return f"the measure ({said[0]}, {said[1]})"
    for column in measured(one.iloc[0]["measure"])[3:]:
        values = [cells[column].mean() for cells in (one, other)]
        if not _same(*values):
            return f"{column} ({values[0]:.6g}, {values[1]:.6g})"
    return ""


def _with_own_names(
    paths: Sequence[Path], tables: Sequence[pd.DataFrame], configs: Sequence[Mapping[str, Any]]
) -> list[pd.DataFrame]:
    """The tables, with the run's name after searchers that are not the same everywhere."""
    arms = [_arms(config) for config in configs]
    runs = [path.resolve().name for path in paths]
    runs = runs if len(set(runs)) == len(runs) else [str(path) for path in paths]
    names = {str(name) for table in tables for name in table["searcher"]}
    apart = set()
    for name in names:
        found = [own.get(name) for own, table in zip(arms, tables, strict=True) if name in set(table["searcher"])]
        if any(arm != found[0] for arm in found if arm is not None and found[0] is not None):
            apart.add(name)
    return [
        table.assign(searcher=[f"{name} ({run})" if name in apart else name for name in table["searcher"]])
        for table, run in zip(tables, runs, strict=True)
    ]


def _arms(config: Mapping[str, Any]) -> dict[str, Any]:
    """By title what a searcher is, and how it is limited."""
    found = {}
    for arm in config.get("searchers") or []:
        if isinstance(arm, dict) and isinstance(arm.get("name"), str):
            own = {key: value for key, value in arm.items() if key not in NOT_OF_AN_ARM}
            found[arm.get("label") or arm["name"].rpartition(":")[2]] = (own, config.get("limits"))
    return found


def _once(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells that are in two runs, once.

    Raises:
        RunError: if they have other numbers.
    """
    key = ["task", "budget", "searcher", "seed"]
    for _, group in cells.loc[cells.duplicated(key, keep=False)].groupby(key, sort=False):
        first = group.iloc[0]
        kept = [column for column in cells.columns if column.startswith("kept_")]
        for _, again in group.iloc[1:].iterrows():
            for column in ("status", *measured(first["measure"])[:3], *kept, *REPEATED):
                if not _same(first[column], again[column]):
                    raise RunError(
                        f"{first['searcher']} on {first['task']} at {first['budget']}, seed {first['seed']}, has "
                        f"{column} {first[column]} in {first[RUN]} and {again[column]} in {again[RUN]}: leave one of "
                        "the runs out, or give the searcher another label"
                    )
    return _evenly_counted(cells.drop_duplicates(key, ignore_index=True))


def _evenly_counted(cells: pd.DataFrame) -> pd.DataFrame:
    """Without shares of a metric that only some seeds of a searcher have: another run did not count it."""
    for column in [name for name in cells.columns if name.startswith("kept_")]:
        of_arm = cells.loc[cells["status"] == "done"].groupby(["task", "budget", "searcher"])[column]
        partly = of_arm.transform("count") < of_arm.transform("size")
        cells.loc[partly.index[partly], column] = math.nan
    return cells


def _same(one: Any, other: Any) -> bool:
    """Whether two fields say the same; what only one has is no difference."""
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    if math.isnan(one) or math.isnan(other):
        return True
    return math.isclose(one, other, rel_tol=SAME, abs_tol=SAME * SAME)
