"""Results of several run folders as one table, where their numbers can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rank_search.errors import InvalidInputError, RunError
from rank_search.records.results import read_results
from rank_search.records.run_config import read_run_config
from rank_search.records.schema import measured
from rank_search.report.config_difference import difference
from rank_search.report.limits_felt import are_felt
from rank_search.report.unfinished import Planned, planned_cells, unfinished_words

RUN = "run"
"""Column of the folder that a cell is in."""
SAME = 1e-9  # numbers that differ by a smaller share differ only in how they were summed
NOT_OF_A_TASK = ("metrics",)
"""Of a task's space: counted beside the others, and named by budgets too."""
NOT_OF_AN_ARM = ("workers", "label")
REPEATED = ("score", "lower_bound", "evaluations", "samples_forward", "samples_trained")
"""What a cell has again when it is run again, beside its measures and its cost; times are not."""


@dataclass(frozen=True)
class Runs:
    """One or several runs as one.

    Attributes:
        results: a row per cell that has ended; the column ``run`` says in which folder it is.
        missing: the cells that a config plans and no run has ended, by the names of ``results``.
        unfinished: a sentence per run that lacks cells.
    """

    results: pd.DataFrame
    missing: tuple[Planned, ...] = ()
    unfinished: tuple[str, ...] = ()


def read_runs(folders: Sequence[Path | str]) -> pd.DataFrame:
    """The results of one or several runs, as ``read_all`` reads them."""
    return read_all(folders).results


def read_all(folders: Sequence[Path | str]) -> Runs:
    """Reads the results of one or several runs, and what is missing of them.

    Several must have the same tasks, and those of one name be the same: definition, measure, dense measures. A searcher
    that was defined otherwise in another run gets its run's name, and so does one under another limit that it may have
    felt; one that is the same in both has the seeds of both. A cell that is in two runs with the same numbers is there
    once.

    Raises:
        RunError: if a file is missing or malformed, tasks differ, or a cell has other numbers in another run.
        InvalidInputError: if no folder is given, or one twice.
    """
    paths = [Path(folder) for folder in folders]
    if not paths or len({path.resolve() for path in paths}) < len(paths):
        raise InvalidInputError(f"{', '.join(map(str, paths)) or 'no run'}: give one run folder or more, each once")
    tables = [read_results(path).assign(**{RUN: str(path)}) for path in paths]
    configs = [read_run_config(path) for path in paths]
    for place, (path, table, config) in enumerate(zip(paths, tables, configs, strict=True)):
        for before in range(place):
            _check_tasks((paths[before], path), (tables[before], table), (configs[before], config))
    names = _own_names(paths, tables, configs)
    missing, said = [], []
    for run, table, config, own in zip(_names_of(paths), tables, configs, names, strict=True):
        planned = planned_cells(config)
        states = {Planned(*cell): state for *cell, state in table[[*Planned._fields, "status"]].itertuples(index=False)}
        if absent := [cell for cell in planned if cell not in states]:
            done, failed = (sum(states.get(cell) == state for cell in planned) for state in ("done", "failed"))
            said.append(unfinished_words(run if len(paths) > 1 else "", done, failed, planned, absent))
        missing += [cell._replace(searcher=own.get(cell.searcher, cell.searcher)) for cell in absent]
    named = [table.assign(searcher=table["searcher"].replace(own)) for table, own in zip(tables, names, strict=True)]
    results = _once(pd.concat(named, ignore_index=True)) if len(named) > 1 else tables[0]
    ended = {Planned(*cell) for cell in results[[*Planned._fields]].itertuples(index=False)}
    return Runs(results, tuple(cell for cell in dict.fromkeys(missing) if cell not in ended), tuple(said))


def _check_tasks(
    paths: tuple[Path, Path], tables: tuple[pd.DataFrame, pd.DataFrame], configs: tuple[Mapping[str, Any], ...]
) -> None:
    names = [_tasks_of(table, config) for table, config in zip(tables, configs, strict=True)]
    if names[0] != names[1]:
        said = " and ".join(
            f"{path} has task{'s' * (len(own) > 1)} {', '.join(sorted(own))}"
            for path, own in zip(paths, names, strict=True)
        )
        raise RunError(
            f"{said}: several runs are reported as one only where all have the same tasks; report them apart, or give "
            "runs of the same tasks"
        )
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


def _tasks_of(table: pd.DataFrame, config: Mapping[str, Any]) -> set[str]:
    """Those of the config, whether any of their cells has ended; without one those that have."""
    planned = config.get("tasks")
    return set(map(str, planned if isinstance(planned, dict) and planned else table["task"]))


def _definition_differs(one: Any, other: Any) -> str:
    """Which keys, with both values; empty if none does, or a run has no config."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return ""
    return difference(_of_task(one), _of_task(other))


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


def _names_of(paths: Sequence[Path]) -> list[str]:
    runs = [path.resolve().name for path in paths]
    return runs if len(set(runs)) == len(runs) else [str(path) for path in paths]


def _own_names(
    paths: Sequence[Path], tables: Sequence[pd.DataFrame], configs: Sequence[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Per run the names of searchers that are not the same everywhere, with the run's name after them."""
    arms = [_arms(config) for config in configs]
    names = {str(name) for table in tables for name in table["searcher"]}
    apart = set()
    for name in names:
        cells = [table.loc[table["searcher"] == name] for table in tables]
        here = [place for place, own in enumerate(arms) if name in own and len(cells[place])]
        limits = [configs[place].get("limits") for place in here]
        otherwise = any(arms[place][name] != arms[here[0]][name] for place in here)
        if otherwise or are_felt(limits, pd.concat([cells[place] for place in here]) if here else cells[0]):
            apart.add(name)
    return [{name: f"{name} ({run})" for name in apart} for run in _names_of(paths)]


def _arms(config: Mapping[str, Any]) -> dict[str, Any]:
    """By title what a searcher is."""
    found = {}
    for arm in config.get("searchers") or []:
        if isinstance(arm, dict) and isinstance(arm.get("name"), str):
            own = {key: value for key, value in arm.items() if key not in NOT_OF_AN_ARM}
            found[arm.get("label") or arm["name"].rpartition(":")[2]] = own
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
