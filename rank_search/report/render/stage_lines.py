"""What each stage of a search was worth, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rank_search.files import read_json
from rank_search.records.schema import STAGES_FILE, shown
from rank_search.records.shares import interval_text


def worth_line(folder: Path, row: Mapping[str, Any], noun: str = "sample") -> str:
    """``validation accuracy on 13 held-out images: dense 100.00%, cut 7.69%, refitted 46.15% (95 % interval: ...)``.

    Args:
        folder: of the search.
        row: its row of results, which names the measure.
        noun: what one that is held out is called.
    """
    measure, unit, count = row["measure"], row["unit"], held_out(folder)
    said = f"validation {measure}{'' if count is None else f' on {counted(count, noun)}'}"
    interval = "" if count is None else interval_text(measure, row[f"val_{measure}"], count)
    dense = shown(row[f"dense_val_{measure}"], unit)
    trust = f"; 95 % interval of {shown(row[f'val_{measure}'], unit)}: {interval}" if interval else ""
    return f"{said}: dense {dense}, {stages_line(folder, row)}{trust}"


def held_out(folder: Path) -> int | None:
    """How many samples a search was judged on; None if its folder does not say."""
    found = _stages(folder).get("samples")
    return None if found is None else int(found)


def counted(count: int, noun: str) -> str:
    """``13 held-out images``."""
    return f"{count:,} held-out {noun}{'s' * (count != 1)}"


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
