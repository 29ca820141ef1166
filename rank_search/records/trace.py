"""``trace.jsonl``: what a method logs beside numbers, a line for every trial that has any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rank_search.errors import RunError
from rank_search.files import write_text
from rank_search.records.file_names import fitting
from rank_search.records.schema import TRACE_FILE
from rank_search.records.steps import is_nested
from rank_search.searching import Trial


def write_trace(place: Path, trials: Sequence[Trial]) -> None:
    """Writes ``trace.jsonl`` of a cell's folder, if any trial carries lists or mappings: they and its numbers."""
    detailed = [trial for trial in trials if any(map(is_nested, trial.info.values()))]
    if detailed:
        lines = [json.dumps({"step": trial.number, **trial.info}) for trial in detailed]
        write_text(place / TRACE_FILE, "\n".join(lines) + "\n")


def read_trace(folder: Path | str, cell: str) -> list[dict[str, Any]]:
    """Reads ``cells/<cell>/trace.jsonl``: the details of every trial that has any, in order; empty without the file.

    Raises:
        RunError: if the file cannot be read or a line of it is not a JSON object.
    """
    path = Path(folder) / "cells" / fitting(cell) / TRACE_FILE
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8 text: {error}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    return [_object(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)] if any(lines) else []


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"{where} is of type {type(value).__name__}; expected a JSON object")
    return value
