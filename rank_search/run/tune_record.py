"""What the snapshot of a Ray Tune experiment says of its trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rank_search.errors import PlanError
from rank_search.space import RankPlan

FINISHED = ("TERMINATED", "ERROR")


@dataclass(frozen=True)
class TuneRecord:
    """One trial.

    Args:
        trial_id: Ray's.
        finished: whether Ray will not run it any more.
        error: whether it ended with an error.
        result: its last one, flat; None if it reported nothing.
        plan: of its configuration; None if it has none.
    """

    trial_id: str
    finished: bool
    error: bool
    result: dict[str, Any] | None
    plan: RankPlan | None


def tune_records(folder: Path) -> list[TuneRecord] | None:
    """The trials of the newest snapshot in a folder; None if there is none that can be read.

    Ray writes this file and the searcher's one after the other and copies them later: one may be older.
    """
    files = sorted(folder.glob("experiment_state-*.json"))
    if not files:
        return None
    try:
        trials = json.loads(files[-1].read_text())["trial_data"]
        return [_record(json.loads(trial), json.loads(run)) for trial, run in trials]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _record(trial: Mapping[str, Any], run: Mapping[str, Any]) -> TuneRecord:
    from ray.tune.utils.util import flatten_dict

    plan, last = trial["config"].get("plan"), run["last_result"]
    try:
        read = None if plan is None else RankPlan.from_json(plan)
    except PlanError:
        read = None
    status = trial["status"]
    return TuneRecord(
        trial["trial_id"], status in FINISHED, status == "ERROR", flatten_dict(last) if last else None, read
    )
