from __future__ import annotations

import json
from pathlib import Path

import pytest
from html_tree import tree
from run_folder import Write, done

from rank_search.errors import RunError, StorageError
from rank_search.records.schema import VERSION
from rank_search.report.render.html import write_html


def test_the_page_has_config_versions_and_how_to_do_it_again(write_run: Write) -> None:
    folder = write_run([done("t", "macs=0.5", "tpe", seed, 0.9) for seed in (0, 1)])
    (folder / "config.yaml").write_text("name: my run\nseeds: [0, 1] # <b>\n")
    record = {"id": "abc", "schema": VERSION, "versions": {"torch": "2.9.1"}}
    (folder / "run.json").write_text(json.dumps(record))
    path = write_html(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    page = tree(text)
    assert page.all("h1")[0].text == folder.name
    config, versions, again = (section.all("code")[0].text for section in page.all("section")[-3:])
    assert config == (folder / "config.yaml").read_text()
    assert {"id: abc", f"schema: {VERSION}", "torch: 2.9.1"} < set(versions.split("\n"))
    assert "not recorded" not in versions
    assert "rank-search bench config.yaml --output runs/run" in again
    assert str(folder) not in text


def test_a_folder_without_a_config_has_a_page_named_after_it(write_run: Write, tmp_path: Path) -> None:
    folder = write_run([done("t", "macs=0.5", "tpe", 0, 0.9)])
    page = tree(write_html(folder, tmp_path / "new" / "page.html").read_text(encoding="utf-8"))
    assert page.all("h1")[0].text == folder.name
    last = page.all("section")[-1]
    assert last.all("h2")[0].text == "Versions"
    assert "versions of libraries: not recorded" in last.text


def test_regret_is_written_too(tmp_path: Path) -> None:
    cells = [(name, seed, f"0.{seed + place}") for seed in (1, 2, 3) for place, name in enumerate("ab")]
    rows = [f"digits,macs=0.5,{name},{seed},done,,{regret},0.1" for name, seed, regret in cells]
    (tmp_path / "regret.csv").write_text(
        "\n".join(["task,budget,searcher,seed,status,reason,regret_4,test_regret_4", *rows]) + "\n"
    )
    page = tree(write_html(tmp_path).read_text(encoding="utf-8"))
    assert "normalised regret" in page.all("caption")[0].text
    assert "First by mean regret" in page.all("p", class_="lead")[0].text
    sections = [section.all("h2")[0].text for section in page.all("section")]
    assert sections == ["Leaderboard", "recorded tasks", "Versions"]
    assert "as a share of what the median plan is above it" in page.all("p", class_="legend")[0].text


def test_what_cannot_be_read_or_written_is_named(write_run: Write, tmp_path: Path) -> None:
    folder = write_run([done("t", "macs=0.5", "tpe", 0, 0.9)])
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_html(folder, tmp_path / "file" / "page.html")
    (folder / "config.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RunError, match=r"config\.yaml cannot be read"):
        write_html(folder)
    with pytest.raises(RunError):
        write_html(tmp_path / "absent")
