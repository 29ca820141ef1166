"""What a run folder says of itself, and commands that do the same again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from rank_search.errors import RunError
from rank_search.report.about import about_runs, names_of

SEARCH: dict[str, Any] = {
    "tasks": {"my task": {}},
    "budgets": [{"macs": 0.5}, {"params": 1000, "latency_ms": "0.35ms"}],
    "searchers": [{"name": "my.module:Mine", "label": ""}],
    "seeds": [3],
}


def folder_of(path: Path, config: Any = None, **record: Any) -> Path:
    path.mkdir(parents=True)
    if config is not None:
        (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (path / "run.json").write_text(json.dumps(record))
    return path


def again(folder: Path) -> list[list[str]]:
    text = dict(about_runs([folder]))["How to reproduce"]
    return [shlex.split(line) for line in text.split("\n")[1:]]


def test_a_search_is_called_as_it_was(tmp_path: Path) -> None:
    first, second = again(folder_of(tmp_path / "my net", SEARCH, command="search"))
    assert first == [
        *("rank-search", "search", "config.yaml", "--task", "my task", "--searcher", "my.module:Mine"),
        *("--budget", "macs=0.5", "--budget", "params=1000,latency_ms=0.35ms", "--seed", "3"),
        *("--output", "runs/my-net"),
    ]
    assert second == ["rank-search", "report", "runs/my-net"]


@pytest.mark.parametrize("record", [{"command": "bench"}, {}])
def test_a_bench_and_a_folder_that_does_not_say_are_a_bench(tmp_path: Path, record: dict[str, Any]) -> None:
    assert again(folder_of(tmp_path / "run", SEARCH, **record))[0] == [
        *("rank-search", "bench", "config.yaml", "--output", "runs/run")
    ]


def test_versions_and_those_of_a_resume_are_lines(tmp_path: Path) -> None:
    record = {"versions": {"torch": "2.1", "python": "3.11.1"}, "resumed": [{"torch": "2.2"}, {"torch": "2.3"}]}
    lines = dict(about_runs([folder_of(tmp_path / "run", **record)]))["Versions"].split("\n")
    assert lines[:4] == ["torch: 2.1", "python: 3.11.1", "resumed under torch 2.2", "resumed under torch 2.3"]
    (tmp_path / "old").mkdir()
    assert "not recorded" in dict(about_runs([tmp_path / "old"]))["Versions"]


def test_several_runs_are_told_apart(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path / place / "run", {"name": place}, id=place) for place in ("one", "other")]
    assert names_of(folders) == ["one/run", "other/run"]
    said = about_runs(folders)
    assert [heading for heading, _ in said] == [
        f"{heading} of {place}/run"
        for place in ("one", "other")
        for heading in ("Config", "Versions", "How to reproduce")
    ]
    assert dict(said)["Config of other/run"] == "name: other\n"
    assert str(tmp_path) not in str(said)


def test_the_folder_one_stands_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert names_of([Path()]) == [tmp_path.name]


def test_a_file_that_cannot_be_read_is_a_line(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "run", SEARCH)
    (folder / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is not valid JSON"):
        about_runs([folder])
