from __future__ import annotations

import math
from pathlib import Path

import pytest
from run_folder import RESULT_COLUMNS, Write, done, failed, write_csv

from rank_search.errors import RunError
from rank_search.records.read_run import read_plan, read_results, read_steps, read_trace
from rank_search.space.plan import Choice


def message(folder: Path) -> str:
    with pytest.raises(RunError) as caught:
        read_results(folder)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_results_keep_text_as_text_and_numbers_as_numbers(write_run: Write) -> None:
    rows = [
        done("nan", "macs=0.5", "None", 3, 0.9, test_accuracy="", dense_test_accuracy=""),
        failed("nan", "macs=0.5", "tpe", 3, "loss is nan, stopped"),
    ]
    results = read_results(write_run(rows))
    assert list(results.columns) == RESULT_COLUMNS
    assert results["task"].tolist() == ["nan", "nan"]
    assert results["searcher"].tolist() == ["None", "tpe"]
    assert results["seed"].tolist() == [3, 3]
    assert results["reason"].tolist() == ["", "loss is nan, stopped"]
    assert results["val_accuracy"].iloc[0] == pytest.approx(0.91)
    assert math.isnan(results["test_accuracy"].iloc[0])
    assert math.isnan(results["val_accuracy"].iloc[1])


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert message(tmp_path / "gone").startswith(f"{tmp_path / 'gone'} is not a run folder")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert message(tmp_path).startswith(f"{tmp_path / 'results.csv'} does not exist")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("")
    assert "is empty" in message(tmp_path)


def test_a_header_alone_is_refused(write_run: Write) -> None:
    assert "is empty: no cell has finished" in message(write_run([]))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    columns = [column for column in RESULT_COLUMNS if column not in ("kept_macs", "reason")]
    write_csv(tmp_path / "results.csv", columns, [])
    assert "lacks the columns reason, kept_macs;" in message(tmp_path)


def test_a_malformed_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("cell,task\na,b\nc,d,e,f\n")
    assert "is not a readable CSV file" in message(tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kept_macs": "half"}, "kept_macs of row 1 is 'half'; expected a number"),
        ({"status": "running"}, "status of cell a is 'running'; expected 'done' or 'failed'"),
        ({"val_accuracy": ""}, "cell a is done but has no val_accuracy"),
        ({"seed": ""}, "cell a is done but has no seed"),
        ({"searcher": ""}, "a row has no searcher"),
    ],
)
def test_a_wrong_field_is_named(write_run: Write, changes: dict[str, str], expected: str) -> None:
    assert expected in message(write_run([done("t", "macs=0.5", "tpe", 0, 0.9, cell="a") | changes]))


def test_a_cell_listed_twice_is_refused(write_run: Write) -> None:
    row = done("t", "macs=0.5", "tpe", 0, 0.9)
    assert "lists cell t-macs=0.5-tpe-0 twice" in message(write_run([row, row]))


def test_steps_are_read_with_empty_scores_as_nan(write_run: Write) -> None:
    folder = write_run([done("t", "macs=0.5", "tpe", 0, 0.9)])
    steps = read_steps(folder, "t-macs=0.5-tpe-0")
    assert steps["incumbent_score"].tolist() == [0.9, 0.5, 0.5, 0.4]
    assert steps["evaluations"].tolist() == [1, 2, 3, 4]
    assert steps["accuracy"].isna().all()


def test_missing_steps_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"steps\.csv does not exist"):
        read_steps(tmp_path, "a")


def write_trace(folder: Path, content: bytes) -> None:
    (folder / "cells" / "a").mkdir(parents=True)
    (folder / "cells" / "a" / "trace.jsonl").write_bytes(content)


def test_a_trace_is_read_line_by_line(tmp_path: Path) -> None:
    write_trace(
        tmp_path, b'{"step": 0, "epoch": 0.5, "ranks": {"a": {"ranks": [3]}}}\n{"step": 4, "name": "\xc3\xa9"}\n'
    )
    assert read_trace(tmp_path, "a") == [
        {"step": 0, "epoch": 0.5, "ranks": {"a": {"ranks": [3]}}},
        {"step": 4, "name": "é"},
    ]


def test_a_cell_without_a_trace_has_an_empty_one(tmp_path: Path) -> None:
    assert read_trace(tmp_path, "a") == []
    write_trace(tmp_path, b"")
    assert read_trace(tmp_path, "a") == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"step": 0}\n{"step": 1', "trace.jsonl, line 2 is not valid JSON: "),
        (b'{"step": 0}\n\n{"step": 1}\n', "trace.jsonl, line 2 is not valid JSON: "),
        (b"[1, 2]\n", "trace.jsonl, line 1 is of type list; expected a JSON object"),
        (b'{"step": 0}\n{"step": 1}\n3\n', "trace.jsonl, line 3 is of type int; expected a JSON object"),
        (b"\xff\xfe", "trace.jsonl is not UTF-8 text: "),
    ],
)
def test_a_malformed_trace_is_refused_with_its_file_and_line(tmp_path: Path, content: bytes, expected: str) -> None:
    write_trace(tmp_path, content)
    with pytest.raises(RunError) as caught:
        read_trace(tmp_path, "a")
    assert str(caught.value).startswith(str(tmp_path / "cells" / "a" / expected))
    assert "\n" not in str(caught.value)


def test_a_trace_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "cells" / "a" / "trace.jsonl").mkdir(parents=True)
    with pytest.raises(RunError, match=r"^cannot read .*trace\.jsonl: "):
        read_trace(tmp_path, "a")


def test_a_plan_keeps_the_order_of_its_layers(write_run: Write) -> None:
    folder = write_run([done("t", "macs=0.5", "tpe", 0, 0.9)])
    plan = read_plan(folder, "t-macs=0.5-tpe-0")
    assert list(plan) == ["conv", "mix", "fc"]
    assert plan["conv"] == Choice("tucker2", (16, 12))
    assert [str(choice) for choice in plan.values()] == ["tucker2 16,12", "cp 24", "dense"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "a plan is a mapping from layer names to choices, not list"),
        ('{"fc": "sparse"}', "layer 'fc': 'sparse' is neither"),
        ('{"fc": {"form": "cp", "ranks": [0]}}', "layer 'fc': rank 0 of a 'cp' choice is not allowed"),
        ("{", "not valid JSON"),
    ],
)
def test_a_malformed_plan_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "cells" / "a").mkdir(parents=True)
    (tmp_path / "cells" / "a" / "plan.json").write_text(content)
    with pytest.raises(RunError, match=expected):
        read_plan(tmp_path, "a")
