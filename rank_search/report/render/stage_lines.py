"""What each stage of a search was worth, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rank_search.files import read_json
from rank_search.records.schema import STAGES_FILE, shown


def stages_line(folder: Path, row: Mapping[str, Any]) -> str:
    """``cut 12.3%, recalibrated 87.5%, refitted 89.0%, fine-tuned 90.9%``.

    Args:
        folder: of the search.
        row: its row of results, which names the measure.
    """
    measure, unit = row["measure"], row["unit"]
    worth = [
        (
            one["stage"],
            (one["measures"] or {}).get(measure),
            "" if one.get("kept", True) else " (its loss was higher: not kept)",
        )
        for one in _stages(folder)["stages"]
    ]
    if not worth:
        worth = [("compressed", row[f"val_{measure}"], "")]
    return ", ".join(f"{stage} {shown(value, unit)}{kept}" for stage, value, kept in worth)


def left_lines(folder: Path) -> list[str]:
    """How many layers the refit made better, and a line for each that it left for a reason a user can mend."""
    layers: Mapping[str, Mapping[str, Any]] = _stages(folder)["layers"]
    left = {name: one["left"] for name, one in layers.items() if one["left"] is not None}
    if not left:
        return []
    said = [f"refitted {len(layers) - len(left)} of {len(layers)} replaced layers; the others stay as they were cut:"]
    return said + [f"  {name}: {reason}" for name, reason in left.items()]


def _stages(folder: Path) -> dict[str, Any]:
    path = folder / STAGES_FILE
    return dict(read_json(path)) if path.exists() else {"stages": [], "layers": {}}
