"""Reading a run folder: the table of results, and the steps, the trace and the plan of one cell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rank_search.errors import InvalidInputError, PlanError, RunError
from rank_search.files import read_json
from rank_search.space.plan import Choice, RankPlan

RESULT_TEXTS = ("cell", "task", "budget", "searcher", "status", "reason")
RESULT_OPTIONAL_NUMBERS = ("test_accuracy", "dense_test_accuracy", "weight_error", "lower_bound")
RESULT_NUMBERS = (
    *("kept_macs", "kept_params", "latency_ms", "dense_latency_ms"),
    *("accuracy_before", "val_accuracy", "dense_val_accuracy"),
    *("evaluations", "samples_forward", "samples_trained", "decompositions", "search_seconds", "search_cpu_seconds"),
    *("finetune_samples", "finetune_seconds"),
)
STEP_NUMBERS = (
    *("step", "score", "incumbent_score", "accuracy", "kept_macs", "kept_params"),
    *("evaluations", "samples_forward", "samples_trained", "seconds"),
)


def read_results(folder: Path | str) -> pd.DataFrame:
    """Reads ``results.csv`` of a run folder, one row per cell: text as text, ``seed`` as int, all else as floats.

    An empty field of a number is NaN. That is allowed in a failed cell, and for what a task may lack (a test set, a
    weight error, a lower bound).

    Raises:
        RunError: if the folder or the file is missing, empty or malformed, lacks columns, lists a cell twice, or has a
            finished cell without its numbers.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a run folder: no such folder; give the folder that `rank-search bench` wrote")
    path = folder / "results.csv"
    results = _read_table(path, (*RESULT_TEXTS, "seed"), (*RESULT_NUMBERS, *RESULT_OPTIONAL_NUMBERS))
    results["seed"] = _numbers(results, "seed", path)
    if results.empty:
        raise RunError(f"{path} is empty: no cell has finished; run the bench to its end first")
    _check_cells(results, path)
    results["seed"] = results["seed"].astype(int)
    return results


def read_steps(folder: Path | str, cell: str) -> pd.DataFrame:
    """Reads ``cells/<cell>/steps.csv``: one row per proposal, in order (no row at all if the search proposed nothing).

    Raises:
        RunError: if the file is missing, malformed or lacks columns.
    """
    return _read_table(Path(folder) / "cells" / cell / "steps.csv", ("cached", "failure"), STEP_NUMBERS)


def read_trace(folder: Path | str, cell: str) -> list[dict[str, Any]]:
    """Reads ``cells/<cell>/trace.jsonl``: the details of every step that has any, in order; empty without the file.

    Raises:
        RunError: if the file cannot be read or a line of it is not a JSON object.
    """
    path = Path(folder) / "cells" / cell / "trace.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8 text: {error}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    return [_object(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)] if any(lines) else []


def read_plan(folder: Path | str, cell: str) -> dict[str, Choice]:
    """Reads ``cells/<cell>/plan.json``: the choice for every layer, in the order of the file.

    Raises:
        RunError: if the file is missing or is not a plan.
    """
    path = Path(folder) / "cells" / cell / "plan.json"
    try:
        content = read_json(path)
    except InvalidInputError as error:
        raise RunError(str(error)) from None
    try:
        return dict(RankPlan.from_json(content))
    except PlanError as error:
        raise RunError(f"{path}: {error}") from None


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"{where} is of type {type(value).__name__}; expected a JSON object")
    return value


def _read_table(path: Path, texts: Iterable[str], numbers: Iterable[str]) -> pd.DataFrame:
    """Reads a CSV file without guessing: everything is text until its column is known to be a number."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False).fillna("")  # NaN: a row that ends early
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; give the folder of a run that has finished at least one cell") from None
    except pd.errors.EmptyDataError:
        raise RunError(f"{path} is empty; run the bench again") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is not a readable CSV file: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    missing = [column for column in (*texts, *numbers) if column not in table.columns]
    if missing:
        raise RunError(
            f"{path} lacks the columns {', '.join(missing)}; it was not written by this version of rank-search"
        )
    for column in numbers:
        table[column] = _numbers(table, column, path)
    return table


def _numbers(table: pd.DataFrame, column: str, path: Path) -> pd.Series[float]:
    texts = table[column]
    values = pd.to_numeric(texts, errors="coerce").astype(float)
    wrong = values.isna() & ~texts.str.strip().str.lower().isin(["", "nan"])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise RunError(f"{path}: {column} of row {row + 1} is {texts.iloc[row]!r}; expected a number")
    return values


def _check_cells(results: pd.DataFrame, path: Path) -> None:
    for column in ("cell", "task", "budget", "searcher"):
        if (results[column] == "").any():
            raise RunError(f"{path}: a row has no {column}")
    unknown = results.loc[~results["status"].isin(["done", "failed"])]
    if not unknown.empty:
        cell, status = unknown.iloc[0][["cell", "status"]]
        raise RunError(f"{path}: status of cell {cell} is {status!r}; expected 'done' or 'failed'")
    twice = results.loc[results.duplicated("cell") | results.duplicated(["task", "budget", "searcher", "seed"])]
    if not twice.empty:
        raise RunError(f"{path} lists cell {twice.iloc[0]['cell']} twice; remove one of its rows")
    done = results["status"] == "done"
    for column in ("seed", *RESULT_NUMBERS):
        absent = results.loc[(done | (column == "seed")) & ~np.isfinite(results[column])]
        if not absent.empty:
            raise RunError(f"{path}: cell {absent.iloc[0]['cell']} is {absent.iloc[0]['status']} but has no {column}")
