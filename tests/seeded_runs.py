"""Run folders whose statistics are known, with steps of searches that evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from run_folder import DENSE, PLAN, Row, done

from rank_search.files import write_text
from rank_search.records.results import write_results
from rank_search.records.schema import PLAN_FILE
from rank_search.records.steps import write_steps
from rank_search.searching import Trial

BUDGETS = {"macs=0.5": 0.49, "macs=0.25": 0.24}


def rows_of(accuracies: Mapping[str, Sequence[float]], task: str = "digits", **changes: Any) -> list[Row]:
    """Cells of two budgets, the accuracies of whose seeds are the same but for 0.1 less at the smaller."""
    return [
        done(task, budget, searcher, seed, accuracy - 0.1 * (kept < 0.4), kept_macs=kept, **changes)
        for budget, kept in BUDGETS.items()
        for searcher, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def write_evaluated(folder: Path, rows: list[Row], config: Mapping[str, Any] | None = None) -> Path:
    """A run folder whose searches evaluated twice each."""
    write_results(folder, rows)
    for row in rows:
        if row["status"] == "done":
            cell = folder / "cells" / row["cell"]
            trials = [
                Trial(n, PLAN, "done", score, {row["measure"]: 0.5}, dict(DENSE), meter=_meter(n), incumbent=score)
                for n, score in ((1, 0.9), (2, 0.4))
            ]
            write_steps(cell, trials, DENSE, ["loss", row["measure"]])
            write_text(cell / PLAN_FILE, PLAN.to_json())
    if config is not None:
        write_text(folder / "config.yaml", yaml.safe_dump(dict(config)))
    return folder


def _meter(count: int) -> dict[str, float]:
    names = ("evaluations", "samples_forward", "samples_trained", "decompositions")
    return {**dict.fromkeys(names, 0), "evaluations": count, "wall_seconds": 0.0}
