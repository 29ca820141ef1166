"""The steps of a search on disk: a row of numbers each, and a line of details where the method gives any."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rank_search.files import write_text
from rank_search.run.folder import STEP_COLUMNS, STEPS_FILE, TRACE_FILE, to_csv
from rank_search.searching import Step


def write_steps(place: Path, steps: Sequence[Step], dense: Mapping[str, Any]) -> None:
    """Writes ``steps.csv``, and ``trace.jsonl`` if any step carries details.

    The numbers that a method puts into the info of its proposals become columns of their own in ``steps.csv``, under
    their names; lists and mappings among them go, with the numbers, to the step's line of ``trace.jsonl``.

    Args:
        place: the cell's folder.
        steps: of the search.
        dense: cost of the dense network.
    """
    own = dict.fromkeys(key for step in steps for key, value in step.proposal.info.items() if not _nested(value))
    columns = (*STEP_COLUMNS, *(key for key in own if key not in STEP_COLUMNS))
    rows = [{**step.proposal.info, **_row(step, dense)} for step in steps]
    write_text(place / STEPS_FILE, to_csv(columns, rows))
    detailed = [step for step in steps if any(map(_nested, step.proposal.info.values()))]
    if detailed:
        lines = [json.dumps({"step": step.number, **step.proposal.info}) for step in detailed]
        write_text(place / TRACE_FILE, "\n".join(lines) + "\n")


def kept(cost: Mapping[str, int], dense: Mapping[str, Any]) -> dict[str, float]:
    """``kept_macs`` and ``kept_params`` as fractions of the dense network."""
    return {f"kept_{metric}": cost[metric] / dense[metric] for metric in ("macs", "params")}


def _row(step: Step, dense: Mapping[str, Any]) -> dict[str, Any]:
    proposal, meter = step.proposal, step.meter
    return {
        "step": step.number,
        "score": proposal.score,
        "incumbent_score": step.incumbent_score,
        "accuracy": proposal.accuracy,
        **kept(step.cost, dense),
        "cached": proposal.cached,
        "failure": proposal.failure,
        **{key: meter[key] for key in STEP_COLUMNS if key in meter},
        "seconds": round(meter["wall_seconds"], 3),
    }


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)
