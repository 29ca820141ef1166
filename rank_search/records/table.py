"""CSV files: written whole, read without guessing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rank_search.errors import RunError


def to_csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV text; None is an empty field."""
    names = list(columns)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if row.get(key) is None else row[key] for key in names} for row in rows)
    return buffer.getvalue()


def read_table(path: Path, needed: Iterable[str]) -> pd.DataFrame:
    """Reads a CSV file as text.

    Raises:
        RunError: if it is missing, malformed or lacks a column.
    """
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
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise RunError(
            f"{path} lacks the columns {', '.join(missing)}; it was not written by this version of rank-search"
        )
    return table


def numbers(table: pd.DataFrame, column: str, path: Path) -> pd.Series[float]:
    """A column of text as floats, NaN where it is empty.

    Raises:
        RunError: if a text is no number.
    """
    texts = table[column]
    values = pd.to_numeric(texts, errors="coerce").astype(float)
    wrong = values.isna() & ~texts.str.strip().str.lower().isin(["", "nan"])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise RunError(f"{path}: {column} of row {row + 1} is {texts.iloc[row]!r}; expected a number")
    return values
