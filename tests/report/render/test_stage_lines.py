"""What a search says of its stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rank_search.records.schema import STAGES_FILE
from rank_search.report.render.stage_lines import held_out, left_lines, stages_line, worth_line

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


def test_the_number_of_samples_and_the_interval_of_what_is_kept_are_said(tmp_path: Path) -> None:
    row = ROW | {"dense_val_accuracy": 1.0, "val_accuracy": 12 / 13}
    stages = [
        {"stage": "refitted", "measures": {"accuracy": 12 / 13}},
        {"stage": "fine-tuned", "measures": {"accuracy": 11 / 13}, "kept": False},
    ]
    folder = folder_of(tmp_path, stages=stages, samples=13)
    assert worth_line(folder, row, "image") == (
        "validation accuracy on 13 held-out images: dense 100.00%, refitted 92.31%, fine-tuned 84.62% (its loss was "
        "higher: not kept); 95 % interval of 92.31%: 66.7% to 98.6%"
    )
    one = folder_of(tmp_path, stages=stages, samples=1)
    assert worth_line(one, row).startswith("validation accuracy on 1 held-out sample: ")
    assert held_out(one) == 1


def test_a_measure_that_is_no_share_has_no_interval_and_an_old_folder_no_number(tmp_path: Path) -> None:
    row = {"measure": "cosine", "unit": "", "dense_val_cosine": 1.0, "val_cosine": 0.5}
    stages = [{"stage": "cut", "measures": {"cosine": 0.5}}]
    line = worth_line(folder_of(tmp_path, stages=stages, samples=2000), row)
    assert line == "validation cosine on 2,000 held-out samples: dense 1, cut 0.5"
    assert worth_line(folder_of(tmp_path, stages=stages), row) == "validation cosine: dense 1, cut 0.5"


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
