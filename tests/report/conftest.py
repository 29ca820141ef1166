from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_folder import RESULT_COLUMNS, STEP_COLUMNS, Row, Write, steps, write_csv


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Writes a run folder with these cells; every finished one has four steps and a plan of three layers."""

    def write(rows: list[Row]) -> Path:
        folder = tmp_path / "run"
        write_csv(folder / "results.csv", RESULT_COLUMNS, rows)
        for row in rows:
            if row["status"] == "done":
                cell = folder / "cells" / row["cell"]
                counts = [1, 2, 3, 4] if row["evaluations"] else [0, 0, 0, 0]
                write_csv(cell / "steps.csv", STEP_COLUMNS, steps([0.9, 0.5, 0.7, 0.4], counts))
                plan = {
                    "conv": {"form": "tucker2", "ranks": [16, 12]},
                    "mix": {"form": "cp", "ranks": [24]},
                    "fc": "dense",
                }
                (cell / "plan.json").write_text(json.dumps(plan))
        return folder

    return write
