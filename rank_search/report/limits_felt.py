"""Whether runs under different limits can have treated a searcher differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from rank_search.task.meter import COUNTS

SECONDS = {"wall_seconds": "search_seconds", "cpu_seconds": "search_cpu_seconds"}
"""Limits of times, and the columns of the results that they bound."""


def are_felt(limits: Sequence[Any], cells: pd.DataFrame) -> bool:
    """Whether any limit that differs can have changed a cell; no searcher is told its limits.

    A limit of a count is felt by a searcher that does such work at all: the work that would pass it is refused before
    it is counted. One of seconds is felt from the moment that it has passed.

    Args:
        limits: the section ``limits`` of every run that has the searcher.
        cells: the searcher's rows of results, of all runs.
    """
    known = [own if isinstance(own, dict) else {} for own in limits]
    done = cells.loc[cells["status"] == "done"]
    for name in dict.fromkeys(key for own in known for key in own):
        given = [own.get(name) for own in known]
        if all(value == given[0] for value in given):
            continue
        if len(done) < len(cells) or name not in (*COUNTS, *SECONDS):
            return True  # a failed cell does not say what it did
        least = min(float(value) for value in given if value is not None)
        if (done[name] > 0).any() if name in COUNTS else (done[SECONDS[name]] >= least).any():
            return True
    return False
