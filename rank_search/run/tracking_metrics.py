"""The numbers of a cell, as MLflow takes them: from its row of results and its steps."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rank_search.records.schema import STEP_NUMBERS, STEP_TEXTS, STEPS_FILE, is_number_of_results

UNLOGGED = {*STEP_TEXTS, *STEP_NUMBERS} - {"score", "incumbent_score"}  # columns of steps that count, or are texts


def metrics_of(row: Mapping[str, Any], place: Path) -> list[Any]:
    """A metric per number of the row, and ``search/<column>`` per step.

    Args:
        row: of results.
        place: the cell's folder.
    """
    from mlflow.entities import Metric

    numbers = [key for key in row if key != "seed" and is_number_of_results(key) and row[key] is not None]
    metrics = [Metric(key, float(row[key]), 0, 0) for key in numbers]
    if (place / STEPS_FILE).exists():
        with (place / STEPS_FILE).open(newline="", encoding="utf-8") as file:
            for step in csv.DictReader(file):
                for key in step:
                    if key not in UNLOGGED and step[key] and _is_number(step[key]):
                        metrics.append(Metric(f"search/{key}", float(step[key]), 0, int(step["step"])))
    return metrics


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
