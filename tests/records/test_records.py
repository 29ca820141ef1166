from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from run_folder import RMSE, Write, done, done_regression, failed

from rank_search.errors import RunError
from rank_search.files import write_json
from rank_search.records.plans import read_plan
from rank_search.records.results import metric_names, read_results, write_results
from rank_search.records.schema import RUN_FILE, VERSION, measured, result_columns, step_columns
from rank_search.records.steps import read_steps
from rank_search.records.trace import read_trace
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
    assert list(results.columns) == list(result_columns(rows))
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
    folder = write_run([done("t", "macs=0.5", "tpe", 0, 0.9)])
    header, _ = (folder / "results.csv").read_text().splitlines()
    (folder / "results.csv").write_text(f"{header}\n")
    assert "is empty: no cell has finished" in message(folder)


def test_a_run_without_rows_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path, [])
    assert "is empty: no cell has finished" in message(tmp_path)


def without(folder: Path, *columns: str) -> Path:
    """The same run folder with a results.csv that lacks some columns."""
    path = folder / "results.csv"
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=[*columns]).to_csv(path, index=False)
    return folder


def test_missing_columns_are_named(write_run: Write) -> None:
    folder = without(write_run([done("t", "macs=0.5", "tpe", 0, 0.9)]), "latency_ms", "reason")
    assert "lacks the columns reason, latency_ms;" in message(folder)


def test_a_missing_column_of_a_measure_or_a_metric_is_named(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", 0, 0.9), done_regression("u", "macs=0.5", "tpe", 0, 3.0)]
    assert "lacks the column val_rmse of the measure 'rmse'" in message(without(write_run(rows), "val_rmse"))
    assert "cell t-macs=0.5-tpe-0 is done but has no kept_macs" in message(without(write_run(rows), "kept_macs"))


def test_columns_of_a_classification_task_are_those_of_the_documented_table() -> None:
    assert ",".join(result_columns([done("t", "macs=0.5", "tpe", 0, 0.9, kept_bytes=0.3)])) == (
        "cell,task,budget,searcher,seed,status,reason,remarks,timed,measure,better,unit,kept_macs,kept_params,kept_bytes,"
        "latency_ms,dense_latency_ms,accuracy_before,val_accuracy,test_accuracy,dense_val_accuracy,dense_test_accuracy,"
        "weight_error,score,lower_bound,evaluations,samples_forward,samples_trained,decompositions,search_seconds,"
        "search_cpu_seconds,finetune_samples,finetune_seconds"
    )
    assert ",".join(step_columns(["accuracy"], ["macs", "params"])) == (
        "step,score,incumbent_score,accuracy,kept_macs,kept_params,cached,failure,evaluations,samples_forward,"
        "samples_trained,decompositions,seconds"
    )


def test_tasks_of_two_measures_and_other_metrics_share_a_table(write_run: Write) -> None:
    rows = [
        done("digits", "macs=0.5", "tpe", 0, 0.9),
        done_regression("prices", "bytes=0.3", "tpe", 0, 3.0, kept_bytes=0.3),
        failed("prices", "bytes=0.3", "cp", 0, "out of memory", RMSE),
    ]
    results = read_results(write_run(rows))
    assert metric_names(results) == ["macs", "params", "bytes"]
    assert results["measure"].tolist() == ["accuracy", "rmse", "rmse"]
    assert results["better"].tolist() == ["higher", "lower", "lower"]
    assert results["unit"].tolist() == ["%", "", ""]
    assert results["test_rmse"].tolist() == [
        pytest.approx(math.nan, nan_ok=True),
        3.0,
        pytest.approx(math.nan, nan_ok=True),
    ]
    assert results["kept_bytes"].isna().tolist() == [True, False, True]
    assert results["val_accuracy"].isna().tolist() == [False, True, True]


def test_cells_of_one_task_report_one_measure(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", 0, 0.9), done_regression("t", "macs=0.5", "cp", 0, 3.0)]
    assert "the cells of task t report different measures" in message(write_run(rows))


def test_a_run_whose_cells_all_failed_is_read(write_run: Write) -> None:
    results = read_results(write_run([failed("t", "macs=0.5", "tpe", 0, "out of memory")]))
    assert results["status"].tolist() == ["failed"]
    assert results[[*measured("accuracy"), "kept_macs", "kept_params"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("schema", "found"), [({}, 1), ({"schema": 1}, 1), ({"schema": 2}, 2), ({"schema": 3}, 3), ({"schema": 5}, 5)]
)
def test_a_run_folder_of_another_schema_is_refused(write_run: Write, schema: dict[str, int], found: int) -> None:
    folder = write_run([done("t", "macs=0.5", "tpe", 0, 0.9)])
    write_json(folder / RUN_FILE, {"id": "a" * 32, **schema})
    assert message(folder) == (
        f"{folder} was written with schema {found} of the run folder, this version reads {VERSION}: "
        "run the bench again in a new folder"
    )


def test_a_run_folder_of_this_schema_is_read(write_run: Write) -> None:
    folder = write_run([done("t", "macs=0.5", "tpe", 0, 0.9)])
    write_json(folder / RUN_FILE, {"id": "a" * 32, "schema": VERSION})
    assert read_results(folder)["test_accuracy"].tolist() == [0.9]


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
    assert steps["kept_macs"].tolist() == [1.0] * 4
    assert pd.to_numeric(steps["accuracy"]).isna().all()
    assert (steps["failure"] == "").all()


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
