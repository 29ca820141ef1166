"""Bad input ends in one clear line and exit code 2; nothing half-written is left, and other cells go on."""

from __future__ import annotations

import csv
import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rank_search import cli, files, load_model


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: exit code, standard output, standard error."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rank-search", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def set_of(**settings: str) -> list[str]:
    """``--set`` options; double underscores are dots."""
    return [part for key, value in settings.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


DIGITS = "tasks__digits__"
CASES = {
    "unknown searcher": ({"searchers": "[knapsak]"}, r"unknown searcher 'knapsak' \(did you mean 'knapsack'\?\)"),
    "unknown form": ({DIGITS + "space__forms": "[tucker]"}, r"unknown form 'tucker' \(did you mean 'tucker2'\?\)"),
    "unknown key": ({DIGITS + "finetune__epoch": "3"}, r"unknown key 'tasks.digits.finetune.epoch' .*'epochs'"),
    "unknown limit": ({"limits__evaluation": "3"}, r"unknown key 'limits.evaluation' .*'evaluations'"),
    "unknown section": ({"budget": "[]"}, r"unknown key 'budget' .*'budgets'"),
    "unknown data option": ({DIGITS + "data__tset": "3"}, r"option 'tset'.*'test'"),
    "unknown searcher option": (
        {"searchers": "[{name: tpe, options: {start: 3}}]"},
        r"TPE has no option 'start'.*'startup'",
    ),
    "searcher option out of range": (
        {"searchers": "[knapsack, {name: batude, label: mine, options: {rho: 0}}]"},
        r"task 'digits': searcher 'mine': rho=0 is not allowed: it is a number above 0",
    ),
    "option of another method": (
        {"searchers": "[{name: relaxation, options: {gamma: 0.4}}]"},
        r"Relaxation has no option 'gamma'; it has: rounds, iterations, polish",
    ),
    "option that became a searcher": (
        {"searchers": "[{name: relaxation, options: {mode: faithful}}]"},
        r"Relaxation has no option 'mode' any more: the published relaxation is the searcher 'ortos'",
    ),
    "key of an earlier spelling": (
        {DIGITS + "evaluation__recalibration_images": "64"},
        r"'tasks.digits.evaluation.recalibration_images' is now called 'recalibration_samples'",
    ),
    "unknown objective": (
        {DIGITS + "objective": "clasification"},
        r"unknown objective 'clasification' \(did you mean 'classification'\?\)",
    ),
    "objective that does not fit": (
        {DIGITS + "objective": "segmentation"},
        r"task 'digits': the objective Segmentation does not fit: the network's outputs are \[\d+, 10\]",
    ),
    "unknown extra metric": (
        {DIGITS + "space__metrics": "[byte]"},
        r"unknown metric 'byte' \(did you mean 'bytes'\?\)",
    ),
    "pattern without a layer": ({DIGITS + "space__exclude": "[convx]"}, r"exclude pattern 'convx' matches no layer"),
    "budget 0": ({"budgets": "[{macs: 0}]"}, r"budget macs=0 is not allowed"),
    "negative budget": ({"budgets": "[{macs: -0.3}]"}, r"budget macs=-0.3 is not allowed"),
    "fraction above 1": ({"budgets": "[{macs: 1.5}]"}, r"budget macs=1.5 is above 1 as a fraction"),
    "unknown metric": ({"budgets": "[{flops: 0.5}]"}, r"unknown budget metric 'flops'"),
    "infeasible budget": (
        {"budgets": "[{macs: 0.001}]"},
        r"no plan .* meets the budget macs=0.001: the smallest .* 0\.\d+",
    ),
    "infeasible pair": ({"budgets": "[{macs: 0.5, params: 10}]"}, r"the smallest reachable is \d+ params"),
    "no decomposable layer": (
        {DIGITS + "model": "{name: 'broken_plugins:only_norms', train: {epochs: 1}}"},
        r"no convolution and no linear layer",
    ),
    "missing weights": ({DIGITS + "model": "{name: digits_net, weights: nowhere.pt}"}, r"nowhere.pt"),
    "no weights at all": ({DIGITS + "model": "{name: digits_net}"}, r"set model.weights .*or model.train"),
    "unknown model": ({DIGITS + "model__name": "digit_net"}, r"'digit_net'.*'digits_net'"),
    "NaN weights": (
        {DIGITS + "model": "{name: 'broken_plugins:not_a_number', train: {epochs: 0}}"},
        r"conv3.*NaN",
    ),
    "missing data": ({DIGITS + "data": "{name: CIFAR10, root: nowhere}"}, r"nowhere"),
    "unknown data set": ({DIGITS + "data": "{name: digit}"}, r"'digit'.*'digits'"),
    "wrong type": ({"seeds": "three"}, r"seeds: .*list"),
    "seed twice": ({"seeds": "[1, 1]"}, r"seeds are distinct"),
    "zero limit": ({"limits__evaluations": "0"}, r"limit evaluations=0 is not allowed"),
    "bad lr": ({DIGITS + "finetune__lr": "-1"}, r"finetune lr=-1.* is not allowed"),
    "tracking is no URI": ({"run__tracking": "server"}, r"run.tracking='server' is not an MLflow URI"),
    "unreachable tracking server": ({"run__tracking": "http://127.0.0.1:9"}, r"tracking server .* does not answer"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_exit_code_2_and_nothing_left(
    case: str, run: Callable[..., tuple[int, str, str]], small_config: Callable[..., Path], tmp_path: Path
) -> None:
    settings, pattern = CASES[case]
    code, out, err = run("bench", small_config(), "--output", tmp_path / "run", "--in-process", *set_of(**settings))
    assert code == 2, (out, err)
    lines = [line for line in err.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert re.search(pattern, lines[0]), lines[0]
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_name_the_key(
    run: Callable[..., tuple[int, str, str]], small_config: Callable[..., Path], tmp_path: Path
) -> None:
    weights = load_model("digits_net", width=6).state_dict()
    weights["conv2.weight"] = torch.zeros(3, 3)
    save_file(weights, tmp_path / "wrong.safetensors")
    model = f"{{name: digits_net, options: {{width: 6}}, weights: {tmp_path / 'wrong.safetensors'}}}"
    code, _, err = run("bench", small_config(), "--output", tmp_path / "run", *set_of(tasks__digits__model=model))
    assert code == 2
    assert "conv2.weight" in err
    assert "[3, 3]" in err or "(3, 3)" in err
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_holds_another_run_is_left_alone(
    run: Callable[..., tuple[int, str, str]], small_config: Callable[..., Path], tmp_path: Path
) -> None:
    once = ["bench", small_config(searchers=["knapsack"], seeds=[0]), "--output", tmp_path / "run", "--in-process"]
    assert run(*once)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    code, _, err = run(*once)
    assert code == 2
    assert "holds a run" in err
    assert "--resume" in err
    code, _, err = run(*once, "--resume", "--set", "seeds=[0, 1]")
    assert code == 2
    assert "'seeds' differs" in err
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    code, _, err = run("bench", "quickstart", "--output", tmp_path / "none", "--resume")
    assert code == 2
    assert "no run to resume" in err
    code, _, err = run("report", tmp_path / "none")
    assert code == 2
    assert len(err.splitlines()) == 1


def test_a_broken_searcher_fails_its_cells_and_no_others(
    run: Callable[..., tuple[int, str, str]], small_config: Callable[..., Path], tmp_path: Path
) -> None:
    broken = ["broken_plugins:Raises", "broken_plugins:SaysNan", "broken_plugins:OverBudget"]
    config = small_config(searchers=[*broken, "knapsack"], seeds=[0], budgets=[{"macs": 0.5}])
    code, out, _ = run("bench", config, "--output", tmp_path / "run", "--in-process")
    assert code == 0
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        found = {row["searcher"]: row for row in csv.DictReader(file)}
    assert found["knapsack"]["status"] == "done"
    reasons = {"Raises": "KeyError: 'lost my way'", "SaysNan": "score nan", "OverBudget": "the budget macs=0.5 allows"}
    for name, reason in reasons.items():
        assert found[name]["status"] == "failed"
        assert reason in found[name]["reason"]
        assert reason in " ".join(out.split())
        assert not (tmp_path / "run" / "cells" / found[name]["cell"] / "model.safetensors").exists()


def test_a_full_disk_ends_the_bench_keeps_finished_cells_and_can_be_resumed(
    run: Callable[..., tuple[int, str, str]],
    small_config: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(searchers=["knapsack"], budgets=[{"macs": 0.5}], seeds=[0, 1, 2])
    write = files._write_bytes

    def full(path: Path, content: bytes) -> None:
        if "s1" in path.parent.name:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(files, "_write_bytes", full)
    code, _, err = run("bench", config, "--output", tmp_path / "run", "--in-process")
    assert code == 2
    assert "the disk is full" in err
    assert len(err.splitlines()) == 1
    left = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file() and "-s1" in str(path)]
    assert left == [], "something half-written was left"
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0"]
    monkeypatch.setattr(files, "_write_bytes", write)
    assert run("bench", config, "--output", tmp_path / "run", "--in-process", "--resume")[0] == 0
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done"] * 3


def test_search_saves_a_network_that_loads_or_leaves_nothing(
    run: Callable[..., tuple[int, str, str]], small_config: Callable[..., Path], tmp_path: Path
) -> None:
    from rank_search import load

    config = small_config()
    code, out, err = run("search", config, "--budget", "macs=0.4", "--output", tmp_path / "net")
    assert code == 0, err
    assert "kept 0.3" in out
    assert re.search(r"dense [\d.]+%, cut [\d.]+%, recalibrated [\d.]+%, refitted [\d.]+%, fine-tuned [\d.]+%", out)
    assert re.search(
        r"validation accuracy on \d+ held-out samples: dense .*; 95 % interval of [\d.]+%: [\d.]+% to [\d.]+%", out
    )
    assert {path.name for path in (tmp_path / "net").iterdir()} == {
        "config.yaml",
        "dense.safetensors",
        "plan.json",
        "model.safetensors",
        "result.json",
        "stages.json",
        "steps.csv",
    }
    logits = load(tmp_path / "net", lambda: load_model("digits_net", width=6))(torch.zeros(2, 1, 8, 8))
    assert logits.shape == (2, 10)
    for options, pattern in (
        (["--budget", "macs"], "not of the form"),
        (["--budget", "macs=0.001"], "smallest reachable"),
        (["--searcher", "nope"], "unknown searcher 'nope'"),
        (["--task", "digit"], "did you mean 'digits'"),
        (["--searcher", "broken_plugins:OverBudget"], "not allowed"),
    ):
        code, _, err = run("search", config, "--output", tmp_path / "other", *options)
        assert code == 2
        assert pattern in err
        assert len(err.splitlines()) == 1
        assert {path.name for path in tmp_path.iterdir()} <= {"small.yaml", "net"}, "something was left behind"
    code, _, err = run("search", config, "--output", tmp_path / "net")
    assert code == 2
    assert "is not empty" in err


def test_a_bench_whose_cells_all_failed_ends_with_exit_code_1_and_says_so(
    run: Callable[..., tuple[int, str, str]], small_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = small_config(searchers=["broken_plugins:Raises"], seeds=[0], budgets=[{"macs": 0.5}])
    code, _, err = run("bench", config, "--output", tmp_path / "run", "--in-process")
    assert code == 1
    assert err == "error: all 1 cells failed; their reasons are above\n"
