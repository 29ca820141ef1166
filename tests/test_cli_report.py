"""``rank-search report``: of one run and of several, in every format, and never while one is being written."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from run_folder import done
from seeded_runs import rows_of, write_evaluated

from rank_search import cli
from rank_search.report.render import html

ACCURACIES = {"a": [0.9, 0.8], "b": [0.7, 0.7]}


def said(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["rank-search", "report", *words])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    output, errors = capsys.readouterr()
    return int(stopped.value.code or 0), output, errors


def test_formats_go_into_the_run_unless_told_and_no_plots_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_evaluated(tmp_path / "run", rows_of(ACCURACIES))
    code, output, _ = said([str(run), "--format", "md,csv", "--format", "latex"], capsys, monkeypatch)
    assert code == 0
    assert output.startswith(f"report:  {run / 'report'} (")
    endings = {path.suffix for path in (run / "report").iterdir()}
    assert endings == {".md", ".csv", ".tex"}
    assert not (run / "plots").exists()


def test_two_runs_are_one_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_evaluated(tmp_path / "one", rows_of(ACCURACIES))
    other = write_evaluated(tmp_path / "other", rows_of({"c": [0.6, 0.5]}))
    code, output, _ = said([str(one), str(other)], capsys, monkeypatch)
    assert code == 0
    assert all(name in output for name in "abc")
    assert "none written: give a folder with --output" in output
    assert not (one / "plots").exists()
    words = [str(one), str(other), "--format", "md", "--output", str(tmp_path / "both")]
    assert said(words, capsys, monkeypatch)[0] == 0
    assert (tmp_path / "both" / "report.md").read_text().startswith("# one, other\n")
    assert said([str(one), str(other), "--output", str(tmp_path / "plots")], capsys, monkeypatch)[0] == 0
    assert {path.suffix for path in (tmp_path / "plots").iterdir()} == {".png", ".html"}
    page = (tmp_path / "plots" / "report.html").read_text(encoding="utf-8")
    assert "<h1>one, other</h1>" in page


def test_a_run_has_plots_and_a_page_whose_path_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_evaluated(tmp_path / "run", rows_of(ACCURACIES))
    code, output, _ = said([str(run)], capsys, monkeypatch)
    assert code == 0
    assert output.rstrip().endswith(f"report:  {run / 'report.html'}")
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    code, output, _ = said([str(run), "--format", "html", "--output", str(tmp_path / "out")], capsys, monkeypatch)
    assert (code, output) == (0, f"report:  {tmp_path / 'out'} (1 files)\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_a_line_and_all_else_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[Path]:
        raise ValueError("no\nfont")

    monkeypatch.setattr(html, "write_page", fail)
    run = write_evaluated(tmp_path / "run", rows_of(ACCURACIES))
    code, output, _ = said([str(run)], capsys, monkeypatch)
    assert code == 0
    assert "report:  no page was written: no font\n" in output
    assert output.startswith("digits")
    assert list((run / "plots").iterdir())
    assert not (run / "report.html").exists()


def test_runs_that_cannot_be_compared_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_evaluated(tmp_path / "one", [done("t", "macs=0.5", "a", 0, 0.9)])
    other = write_evaluated(tmp_path / "other", [done("t", "macs=0.5", "a", 0, 0.8)])
    code, output, errors = said(
        [str(one), str(other), "--format", "md", "--output", str(tmp_path / "both")], capsys, monkeypatch
    )
    assert (code, output) == (2, "")
    assert errors.count("\n") == 1
    assert "a on t at macs=0.5, seed 0, has before" not in errors
    assert "leave one of the runs out" in errors
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("words", [[], ["--format", "md"]])
def test_a_run_that_is_being_written_is_one_line_and_nothing_is_written(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_evaluated(tmp_path / "run", rows_of(ACCURACIES))
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": "today"}
    (run / ".lock.json").write_text(json.dumps(holder))
    before = sorted(tmp_path.rglob("*"))
    code, output, errors = said([str(run), *words], capsys, monkeypatch)
    assert (code, output) == (2, "")
    assert errors == (
        f"error: {run} is still being written to by process {os.getpid()} on {socket.gethostname()} since today: wait "
        "for its end or stop it first\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_benchmark_of_regret_has_every_format_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    regrets = {"random": 0.5, "evolution": 0.2, "descent": 0.1}
    lines = [
        f"digits,macs={budget},{name},{seed},done,,{value + 0.01 * seed},{value}"
        for budget in (0.2, 0.3, 0.4, 0.5)
        for name, value in regrets.items()
        for seed in (0, 1)
    ]
    header = "task,budget,searcher,seed,status,reason,regret_64,test_regret_64"
    (tmp_path / "regret.csv").write_text("\n".join([header, *lines]) + "\n")
    code, output, _ = said([str(tmp_path)], capsys, monkeypatch)
    assert code == 0
    assert output.endswith(f"report:  {tmp_path / 'report.html'}\n")
    assert "critical difference" in (tmp_path / "report.html").read_text(encoding="utf-8")
    code, _, errors = said([str(tmp_path), "--format", "md,latex,csv,pdf,html"], capsys, monkeypatch)
    assert (code, errors) == (0, "")
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {
        *("report.md", "report.html", "critical_difference.pdf"),
        *(f"{stem}.{ending}" for stem in ("regret", "proxies_digits") for ending in ("tex", "csv")),
    }
    assert "descent (1.0)" in (tmp_path / "report" / "report.md").read_text()
    assert "0.105" in (tmp_path / "report" / "regret.csv").read_text()
    code, _, errors = said([str(tmp_path), str(tmp_path / "x")], capsys, monkeypatch)
    assert (code, errors.count("\n")) == (2, 1)
    assert "which is reported alone" in errors
