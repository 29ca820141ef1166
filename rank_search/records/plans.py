"""``plan.json`` of a cell."""

from __future__ import annotations

from pathlib import Path

from rank_search.errors import InvalidInputError, PlanError, RunError
from rank_search.files import read_json
from rank_search.records.file_names import fitting
from rank_search.records.schema import PLAN_FILE
from rank_search.space.plan import Choice, RankPlan


def read_plan(folder: Path | str, cell: str) -> dict[str, Choice]:
    """Reads ``cells/<cell>/plan.json``: the choice for every layer, in the order of the file.

    Raises:
        RunError: if the file is missing or is not a plan.
    """
    path = Path(folder) / "cells" / fitting(cell) / PLAN_FILE
    try:
        content = read_json(path)
    except InvalidInputError as error:
        raise RunError(str(error)) from None
    try:
        return dict(RankPlan.from_json(content))
    except PlanError as error:
        raise RunError(f"{path}: {error}") from None
