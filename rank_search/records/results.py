"""``results.csv``: a row per cell that has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rank_search.errors import RunError
from rank_search.files import read_json, write_text
from rank_search.records.schema import (
    RESULT_NUMBERS,
    RESULT_OPTIONAL,
    RESULT_TEXTS,
    RESULTS_FILE,
    RUN_FILE,
    check_version,
    is_number_of_results,
    measured,
    required,
    result_columns,
)
from rank_search.records.table import numbers, read_table, to_csv


def write_results(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes ``results.csv`` of a run folder."""
    write_text(folder / RESULTS_FILE, to_csv(result_columns(rows), rows))


def read_results(folder: Path | str) -> pd.DataFrame:
    """Reads ``results.csv`` of a run folder, one row per cell: text as text, ``seed`` as int, all else as floats.

    An empty field of a number is NaN. That is allowed in a failed cell, and for what a task may lack (a test set, a
    weight error, a lower bound, another task's measures and metrics).

    Raises:
        RunError: if the folder or the file is missing, empty or malformed, of another schema, lacks columns, lists a
            cell twice, or has a finished cell without its numbers.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a run folder: no such folder; give the folder that `rank-search bench` wrote")
    if (folder / RUN_FILE).exists():
        check_version(dict(read_json(folder / RUN_FILE)).get("schema"), folder)
    path = folder / RESULTS_FILE
    results = read_table(path, (*RESULT_TEXTS, "seed", *RESULT_NUMBERS, *RESULT_OPTIONAL))
    for column in results.columns:
        if is_number_of_results(column):
            results[column] = numbers(results, column, path)
    if results.empty:
        raise RunError(f"{path} is empty: no cell has finished; run the bench to its end first")
    for measure in results["measure"].unique():
        for column in measured(measure):
            if measure and column not in results.columns:
                raise RunError(f"{path} lacks the column {column} of the measure {measure!r}")
    _check_cells(results, path)
    results["seed"] = results["seed"].astype(int)
    return results


def metric_names(results: pd.DataFrame) -> list[str]:
    """The metrics whose kept fractions the table holds, in the order of its columns."""
    return [column.removeprefix("kept_") for column in results.columns if column.startswith("kept_")]


def _check_cells(results: pd.DataFrame, path: Path) -> None:
    for column in ("cell", "task", "budget", "searcher", "measure"):
        if (results[column] == "").any():
            raise RunError(f"{path}: a row has no {column}")
    unknown = results.loc[~results["status"].isin(["done", "failed"])]
    if not unknown.empty:
        cell, status = unknown.iloc[0][["cell", "status"]]
        raise RunError(f"{path}: status of cell {cell} is {status!r}; expected 'done' or 'failed'")
    twice = results.loc[results.duplicated("cell") | results.duplicated(["task", "budget", "searcher", "seed"])]
    if not twice.empty:
        raise RunError(f"{path} lists cell {twice.iloc[0]['cell']} twice; remove one of its rows")
    for task, of_task in results.groupby("task"):
        if of_task[["measure", "better", "unit"]].drop_duplicates().shape[0] > 1:
            raise RunError(f"{path}: the cells of task {task} report different measures")
    done = results["status"] == "done"
    for column in ("seed", *RESULT_NUMBERS):
        absent = results.loc[(done | (column == "seed")) & ~np.isfinite(results[column])]
        if not absent.empty:
            raise RunError(f"{path}: cell {absent.iloc[0]['cell']} is {absent.iloc[0]['status']} but has no {column}")
    for _, row in results.loc[done].iterrows():
        for column in (*required(row["measure"]), "kept_macs", "kept_params"):
            if column not in row or not np.isfinite(row[column]):
                raise RunError(f"{path}: cell {row['cell']} is done but has no {column}")
