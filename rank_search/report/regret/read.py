"""Reading ``regret.csv``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rank_search.errors import RunError
from rank_search.records.schema import REGRET_FILE

NAMES = ("task", "budget", "searcher", "seed", "status", "reason")
PREFIX, TEST_PREFIX, ANSWER = "regret_", "test_regret_", "plan_"


def read_regret(folder: Path) -> pd.DataFrame:
    """A row per search: :data:`NAMES`, ``plan_N``, ``regret_N`` and ``test_regret_N`` for every count N, what was used.

    Raises:
        RunError: if the file is missing or malformed.
    """
    path = folder / REGRET_FILE
    if not path.is_file():
        raise RunError(f"{path} does not exist: {folder} holds no benchmark of regret")
    try:
        frame = pd.read_csv(path, dtype={"task": str, "budget": str, "searcher": str})
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    missing = [name for name in NAMES if name not in frame.columns]
    if missing or frame.empty:
        raise RunError(f"{path} lacks {', '.join(missing) or 'rows'}: run the benchmark again")
    return frame


def counts(frame: pd.DataFrame) -> list[int]:
    """After how many evaluations regrets were taken, rising."""
    return sorted(int(column.removeprefix(PREFIX)) for column in frame.columns if column.startswith(PREFIX))
