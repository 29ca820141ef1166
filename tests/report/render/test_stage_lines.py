"""What a search says of its stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rank_search.records.schema import STAGES_FILE
from rank_search.report.render.stage_lines import left_lines, stages_line

ROW: dict[str, Any] = {"measure": "accuracy", "unit": "%", "val_accuracy": 0.9}


def folder_of(tmp_path: Path, **worth: Any) -> Path:
    (tmp_path / STAGES_FILE).write_text(json.dumps({"stages": [], "layers": {}, **worth}))
    return tmp_path


def test_every_stage_stands_in_its_order_with_the_reported_measure(tmp_path: Path) -> None:
    stages = [
        {"stage": "cut", "measures": None},
        {"stage": "recalibrated", "measures": {"loss": 0.4, "accuracy": 0.875}},
        {"stage": "refitted", "measures": {"loss": 0.3, "accuracy": 0.89}},
        {"stage": "fine-tuned", "measures": {"loss": 0.2, "accuracy": 0.9}},
    ]
    line = stages_line(folder_of(tmp_path, stages=stages), ROW)
    assert line == "cut unknown, recalibrated 87.50%, refitted 89.00%, fine-tuned 90.00%"


def test_without_stages_it_says_what_the_answer_is_worth(tmp_path: Path) -> None:
    assert stages_line(tmp_path, ROW) == "compressed 90.00%"
    assert left_lines(tmp_path) == []


def test_layers_that_were_left_are_named_with_their_reason(tmp_path: Path) -> None:
    layers = {
        "conv1": {"before": 0.2, "after": 0.1, "left": None},
        "conv2": {"before": None, "after": None, "left": "too few"},
    }
    lines = left_lines(folder_of(tmp_path, layers=layers))
    assert lines == ["refitted 1 of 2 replaced layers; the others stay as they were cut:", "  conv2: too few"]
    assert left_lines(folder_of(tmp_path, layers={"conv1": layers["conv1"]})) == []
