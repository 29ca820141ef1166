"""What a run folder keeps of the software it was made with, and what is said when it goes on with other software."""

from __future__ import annotations

import json
import logging
import platform
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from rank_search.files import read_json
from rank_search.run import versions as module
from rank_search.run.config import load_config
from rank_search.run.folder import RunFolder
from rank_search.run.versions import note_other_versions, versions

NAMES = {"rank_search", "torch", "numpy", "ray", "mlflow", "python", "platform"}


def test_a_new_folder_says_what_it_was_made_with_and_how(small_config: Callable[..., Path], tmp_path: Path) -> None:
    config = load_config(small_config())
    folder = RunFolder(tmp_path / "run")
    folder.create(config, command="search")
    record = read_json(folder.path / "run.json")
    assert record["command"] == "search"
    assert set(record["versions"]) == NAMES
    assert record["versions"]["numpy"] == version("numpy")
    assert record["versions"]["python"] == platform.python_version()
    folder.reopen(config)
    assert read_json(folder.path / "run.json") == record


def test_nothing_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    name = platform.node() or socket.gethostname()
    assert len(name) < 3 or name not in versions()["platform"]


def test_a_package_that_is_not_there_is_said_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.PACKAGES, "mlflow", "no-such-package-of-ours")
    assert versions()["mlflow"] == "not installed"


def test_going_on_under_other_versions_is_a_line_and_is_written_down(
    small_config: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(small_config())
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    path = folder.path / "run.json"
    record = read_json(path)
    record["versions"] |= {"torch": "0.1", "numpy": "0.2"}
    path.write_text(json.dumps(record))
    with caplog.at_level(logging.WARNING, "rank_search"):
        folder.reopen(config)
        folder.reopen(config)
    assert len(caplog.messages) == 2
    now = versions()
    assert f"torch 0.1 and now {now['torch']}, numpy 0.2 and now {now['numpy']}" in caplog.messages[0]
    after = read_json(path)
    assert after["resumed"] == [{"torch": now["torch"], "numpy": now["numpy"]}]
    assert {key: value for key, value in after.items() if key != "resumed"} == record


def test_a_folder_of_an_older_release_goes_on_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "run.json"
    note_other_versions(path)
    path.write_text('{"id": "a", "schema": 4}')
    note_other_versions(path)
    assert path.read_text() == '{"id": "a", "schema": 4}'
    assert not caplog.messages
