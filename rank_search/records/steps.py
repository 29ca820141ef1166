"""``steps.csv``: a row of numbers for every trial of a search."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rank_search.errors import RunError
from rank_search.files import write_text
from rank_search.records.file_names import fitting
from rank_search.records.schema import STEP_NUMBERS, STEP_TEXTS, STEPS_FILE, kept, step_columns
from rank_search.records.table import numbers, read_table, to_csv
from rank_search.searching import Trial

UNMEASURED = ("loss",)  # it is the score


def write_steps(place: Path, trials: Sequence[Trial], dense: Mapping[str, Any], measures: Sequence[str]) -> None:
    """Writes ``steps.csv``.

    The numbers that a method puts into the info of its trials become columns of their own, under their names.

    Args:
        place: the cell's folder.
        trials: of the search.
        dense: cost of the dense network.
        measures: of the objective; the loss, which is the score, has no column of its own.
    """
    counted = kept(trials[0].cost, dense) if trials else kept(dict.fromkeys(("macs", "params"), 0), dense)
    columns = step_columns(
        [name for name in measures if name not in UNMEASURED], [key.removeprefix("kept_") for key in counted]
    )
    own = dict.fromkeys(key for trial in trials for key, value in trial.info.items() if not is_nested(value))
    rows = [{**trial.info, **_row(trial, dense)} for trial in trials]
    write_text(place / STEPS_FILE, to_csv((*columns, *(key for key in own if key not in columns)), rows))


def read_steps(folder: Path | str, cell: str) -> pd.DataFrame:
    """Reads ``cells/<cell>/steps.csv``: one row per trial, in order (no row at all if the search proposed nothing).

    Raises:
        RunError: if the file is missing, malformed or lacks columns.
    """
    path = Path(folder) / "cells" / fitting(cell) / STEPS_FILE
    table = read_table(path, (*STEP_TEXTS, *STEP_NUMBERS))
    for column in table.columns:
        if column in STEP_NUMBERS or column.startswith("kept_"):
            table[column] = numbers(table, column, path)
        elif column not in STEP_TEXTS:
            with contextlib.suppress(RunError):  # a method may log texts, too
                table[column] = numbers(table, column, path)
    return table


def is_nested(value: Any) -> bool:
    """Whether a value of a trial's info goes to the trace, not into a column."""
    return isinstance(value, Mapping | list | tuple)


def _row(trial: Trial, dense: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "step": trial.number,
        "score": trial.score,
        "incumbent_score": trial.incumbent,
        **trial.measures,
        **kept(trial.cost, dense),
        "cached": trial.state == "cached",
        "failure": trial.failure,
        **{key: value for key, value in trial.meter.items() if not key.endswith("_seconds")},
        "seconds": round(trial.meter["wall_seconds"], 3),
    }
