"""What the searches of a benchmark of regret answered with, as places in a recording."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rank_search.errors import RunError
from rank_search.recorded.recording import folder_of
from rank_search.records.schema import RANKED_AT, REGRET_FILE

PLAN = "plan_"


def answers_of(run: Path, recording: Path) -> list[int]:
    """The places of the answers on that recording that the report ranks, each once, rising.

    Args:
        run: the folder of a benchmark of regret.
        recording: the recording's folder.

    Raises:
        RunError: if there is no such benchmark, or it did not keep its answers.
    """
    if not (run / REGRET_FILE).is_file():
        raise RunError(f"{run / REGRET_FILE} does not exist: {run} holds no benchmark of regret")
    frame = pd.read_csv(run / REGRET_FILE, dtype={"task": str})
    counts = [int(column.removeprefix(PLAN)) for column in frame.columns if column.startswith(PLAN)]
    at = max((count for count in counts if count <= RANKED_AT), default=min(counts, default=0))
    names = [name for name in dict.fromkeys(frame["task"]) if folder_of(name).resolve() == recording.resolve()]
    if not counts or not names:
        lacks = f"a search on {recording}" if counts else f"the answers ({PLAN}N)"
        raise RunError(f"{run / REGRET_FILE} lacks {lacks}: run the benchmark again")
    return sorted({int(place) for place in frame.loc[frame["task"].isin(names), f"{PLAN}{at}"].dropna()})
