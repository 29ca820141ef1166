"""``rank-search export``: a search's folder and a bench's cell become files; what is wrong is one line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from small_bench import SMALL

from rank_search import cli
from rank_search.deploy.export.checksums import sha256
from rank_search.run.bench import bench
from rank_search.run.config import load_config
from rank_search.run.export_result import export_result
from rank_search.run.finished import read_finished
from rank_search.task import load_model
from rank_search.task.evaluation import validate

pytestmark = pytest.mark.usefixtures("single_thread")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command line in this process: exit code, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rank-search", *map(str, words)])
        monkeypatch.setattr(sys, "path", [*sys.path])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return run


def test_the_answer_of_a_search_is_exported_and_validated_by_the_engine(
    call: Call, small_config: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "net"
    code, _, err = call("search", small_config(), "--output", folder)
    assert code == 0, err
    row = json.loads((folder / "result.json").read_text())
    before = {path.name for path in folder.iterdir()}
    code, out, err = call("export", folder, "--int8")
    assert code == 0, err
    assert {path.name for path in folder.iterdir()} == before | {"onnx"}
    written = json.loads((folder / "onnx" / "export.json").read_text())
    found = {variant["name"]: variant for variant in written["variants"]}
    assert [*found] == ["dense", "dense int8", "compressed", "compressed int8"]
    assert found["dense"]["measures"]["val_accuracy"] == pytest.approx(row["dense_val_accuracy"], abs=1e-6)
    assert found["compressed"]["measures"]["val_accuracy"] == pytest.approx(row["val_accuracy"], abs=1e-6)
    for name, variant in found.items():
        size, milliseconds, kept = (
            f"{variant['bytes'] / 1000:.1f}",
            f"{variant['milliseconds']:.4g}",
            variant["kept_time"],
        )
        accuracy = f"{variant['measures']['val_accuracy']:.2%}"
        assert re.search(rf"{name} +{re.escape(size)} +{re.escape(milliseconds)} +{kept:.3f} .* {accuracy}", out), out
    costs = written["costs"]
    for metric in ("macs", "params"):
        assert costs[metric]["compressed"] / costs[metric]["dense"] == pytest.approx(row[f"kept_{metric}"], rel=1e-9)
    assert written["facts"]["accuracies"]["test_accuracy"] == row["test_accuracy"]
    assert written["facts"]["dense_weights_sha256"] == sha256(folder / "dense.safetensors")
    assert "batch norms folded: 5; left: 0" in out
    for words, said in (
        ([folder], "is there already, and exports do not overwrite"),
        ([folder, "--to", "tflite", "--output", tmp_path / "x"], "no format 'tflite'"),
        ([folder, "--engine", "nope", "--output", tmp_path / "x"], "unknown engine 'nope'"),
        ([folder, "--to", "pt2", "--int8", "--output", tmp_path / "x"], "int8=True is for ONNX Runtime"),
        ([tmp_path / "nowhere"], "is no folder: give one that rank-search search --output wrote"),
        ([tmp_path], "is no result of a search"),
    ):
        code, _, err = call("export", *words)
        assert code == 2
        assert said in err
        assert len(err.splitlines()) == 1
        assert not (tmp_path / "x").exists()


def test_a_cell_of_a_bench_is_exported_with_the_hash_of_its_source(tmp_path: Path, small_config: Any) -> None:
    weights = tmp_path / "source.safetensors"
    save_file(load_model("digits_net", width=6).state_dict(), weights)
    digits = {
        **SMALL["tasks"]["digits"],
        "model": {"name": "digits_net", "options": {"width": 6}, "weights": str(weights)},
        "finetune": {"epochs": 0},
    }
    config = load_config(
        small_config(tasks={"digits": digits}, searchers=["knapsack"], budgets=[{"macs": 0.5}], seeds=[0])
    )
    run = bench(config, tmp_path / "run", in_process=True)
    (cell,) = (run / "cells").iterdir()
    with pytest.raises(Exception, match=f"is a run of 1 networks: give one of its cells, e.g. .*{cell.name}"):
        read_finished(run)
    exported = export_result(cell, "safetensors", tmp_path / "out", batch=3)
    assert exported.batch == 3
    assert exported.facts["source_checkpoint_sha256"] == sha256(weights)
    assert str(tmp_path) not in (exported.folder / "MODEL_CARD.md").read_text()
    found = read_finished(cell)
    own = validate(found.network, found.data, found.data.validation, found.objective).measures["accuracy"]
    assert exported.variant("compressed").measures["val_accuracy"] == pytest.approx(own, abs=1e-6)
