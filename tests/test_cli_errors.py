"""Every error of the command line is one line on standard error with exit code 2, and says what was given."""

from __future__ import annotations

import sys

import pytest
import typer

from rank_search import cli, commands
from rank_search.errors import ConfigError

COMMANDS = "the commands are: list, inspect, search, compress, latency, bench, export, record, report"
BENCH = "its options are: --output, --resume, --in-process, --ray-address, --set, --help"


def said(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """The exit code of a command line, and what it wrote to standard output and to standard error."""
    monkeypatch.setattr(sys, "argv", ["rank-search", *words])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    output, errors = capsys.readouterr()
    code = stopped.value.code or 0
    assert isinstance(code, int)
    return code, output, errors


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["frobnicate"], ["there is no command 'frobnicate'", COMMANDS]),
        (["serch", "quickstart"], ["there is no command 'serch' (did you mean 'search'?)", COMMANDS]),
        (["two\nlines"], ["there is no command 'two\\nlines'", COMMANDS]),
        (["--hepl"], ["rank-search has no option '--hepl' (did you mean '--help'?)", "its options are: --help"]),
        (["bench", "quickstart", "--resumee"], ["'bench' has no option '--resumee' (did you mean '--resume'?)", BENCH]),
        (["bench", "quickstart", "--resumee=1"], ["'bench' has no option '--resumee' (did you mean", BENCH]),
        (["bench", "quickstart", "-resume"], ["'bench' has no option '-resume' (did you mean '--resume'?)", BENCH]),
        (["bench", "-x"], ["'bench' has no option '-x'", BENCH]),
        (["bench"], ["'bench'", "missing argument 'CONFIG'"]),
        (["search", "quickstart"], ["'search'", "missing option '--output'"]),
        (["bench", "quickstart", "--output"], ["option '--output' requires an argument"]),
        (["bench", "quickstart", "--resume=3"], ["option '--resume' does not take a value"]),
        (["report", "a", "b"], ["a is not a run folder", "no such folder"]),
        (["report"], ["'report'", "missing argument 'RUN...'"]),
        (["report", "a", "b", "--format", "md"], ["a report of 2 runs", "give a folder with --output"]),
        (["report", "a", "--format", "csv,latx"], ["'latx' is not known (did you mean 'latex'?)", "md, latex, csv"]),
        (["search", "quickstart", "--output", "x", "--seed", "abc"], ["invalid value for '--seed'", "'abc'"]),
        (["search", "quickstart", "--seed=4.5", "--output", "x"], ["invalid value for '--seed'", "'4.5'"]),
        (["--"], ["missing command"]),
    ],
)
def test_an_error_is_one_line_and_says_what_was_given(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output, errors = said(words, capsys, monkeypatch)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.endswith("\n")
    assert errors.count("\n") == 1
    for part in parts:
        assert part in errors


@pytest.mark.parametrize("words", [["--help"], ["bench", "--help"]])
def test_help_is_no_error(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output, errors = said(words, capsys, monkeypatch)
    assert (code, errors) == (0, "")
    assert "Usage" in output


def test_without_a_word_the_help_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, output, errors = said([], capsys, monkeypatch)
    assert "error:" not in errors
    assert "inspect" in output + errors


@pytest.mark.parametrize(
    ("raised", "code"), [(typer.Exit(0), 0), (typer.Exit(1), 1), (typer.Exit(130), 130), (KeyboardInterrupt(), 130)]
)
def test_a_command_leaves_with_its_own_exit_code(
    raised: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise raised

    monkeypatch.setattr(commands.report, "print_report", stopped)
    assert said(["report", "runs"], capsys, monkeypatch) == (code, "", "")


def test_an_error_within_a_command_is_one_line_however_many_its_message_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConfigError("two\n  lines")

    monkeypatch.setattr(commands.report, "print_report", fail)
    assert said(["report", "runs"], capsys, monkeypatch) == (2, "", "error: two lines\n")


def test_a_command_that_ends_leaves_with_code_zero(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.report, "print_report", lambda *_: ["done"])
    assert said(["report", "runs"], capsys, monkeypatch) == (0, "", "")
