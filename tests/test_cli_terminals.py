"""What the command line writes where characters are missing or nobody reads: no traceback, and the work is done."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_folder import Write, done, failed, write_run

from rank_search import cli

__all__ = ["write_run"]
RUN = [sys.executable, "-c", "from rank_search.cli import main; main()"]


def written(words: list[str], encoding: str, errors: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """The exit code of a command line, and what it wrote to a terminal of that encoding."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["rank-search", *words])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors=errors))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    sys.stdout.flush()
    return int(stopped.value.code or 0), raw.getvalue().decode(encoding)


@pytest.fixture
def folder(write_run: Write) -> Path:
    rows = [done("digits", "macs=0.5", "tpe", seed, 0.9 + seed / 100) for seed in (0, 1)]
    return write_run([*rows, failed("digits", "macs=0.5", "cp", 0, "größer – als ±1 長 \ud83d"[:-1])])


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_report_is_printed_in_any_encoding_and_its_plots_are_written(
    encoding: str, errors: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = written(["report", str(folder)], encoding, errors, monkeypatch)
    assert code == 0
    assert "90.5" in said
    assert ("±" in said) == (encoding != "ascii")
    assert ("長" in said) == (encoding == "utf-8")
    assert len(list((folder / "plots").glob("*.png"))) == 5


@pytest.mark.parametrize("words", [["list"], ["inspect", "--model", "digits_net", "--input", "1,8,8"]])
def test_other_commands_too(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = written(words, "ascii", "strict", monkeypatch)
    assert code == 0
    assert len(said.splitlines()) > 5


def test_a_pipe_that_is_closed_ends_the_report_without_a_word_after_its_plots(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        answer = subprocess.run([*RUN, "report", str(folder)], stdout=writing, stderr=subprocess.PIPE, timeout=600)
    finally:
        os.close(writing)
    assert answer.stderr == b""
    assert answer.returncode == 141
    assert len(list((folder / "plots").glob("*.png"))) == 5


def test_a_path_that_the_file_system_does_not_take_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["rank-search", "report", "x" * 300])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: File name too long: xxx")
    assert said.count("\n") == 1
