"""Names become folders: what a file system cannot take is refused before anything runs, or cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_bench import SMALL

from rank_search.errors import ConfigError, RunError
from rank_search.run import folder as folder_module
from rank_search.run.cells import Cell, expand
from rank_search.run.config import Config, SearcherConfig, load_config
from rank_search.run.folder import RunFolder
from rank_search.space import Budget

DIGITS = SMALL["tasks"]["digits"]


def config(**changes: Any) -> Config:
    return Config.model_validate({**SMALL, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        *(
            ({"tasks": {name: DIGITS}}, "folder name")
            for name in ("", ".", "..", ".hidden", "a/b", "a\\b", "a\0b", "a ", " a", "a\n", "größe", "t" * 256)
        ),
        *(({"name": name}, "name: ") for name in ("", "..", "a/b", "a\0b", "a ", "a\n", "n" * 256)),
        *(
            ({"searchers": [{"name": "tpe", "label": label}]}, "searchers.0.label: ")
            for label in ("..", "a/b", "a\0b", "a ", "a\n", "l" * 256)
        ),
        *(
            ({"searchers": [name]}, "give this arm a label")
            for name in ("", "module:", "a/b", "a\\b", "a\0b", "a\nb", ".a", " a", "a ", "m:a/b", "\ud800")
        ),
        *(({"searchers": [name]}, "the dense network's row") for name in ("dense", "Dense", "my.module:DENSE")),
        ({"searchers": [{"name": "tpe", "label": "dense"}]}, "the dense network's row"),
        ({"searchers": ["tpe", {"name": "random", "label": "tpe"}]}, "stands twice"),
        ({"searchers": ["one:Mine", "two:Mine"]}, "stands twice"),
    ],
)
def test_a_name_that_cannot_be_a_folder_is_refused_in_one_line(
    changes: dict[str, Any], says: str, small_config: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(small_config(**changes))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("name", ["t" * 255, "a+b", "a.b", "7", "A-1_x"])
def test_names_that_a_file_system_takes_are_taken(name: str) -> None:
    assert list(config(tasks={name: DIGITS}).tasks) == [name]


def test_a_class_may_have_letters_of_any_alphabet_and_be_as_long_as_it_likes(tmp_path: Path) -> None:
    cells = expand(config(searchers=["mine:Größe", "mine:" + "ß" * 200], seeds=[0], budgets=[{"macs": 0.5}]))
    assert cells[0].folder == cells[0].id == "digits-macs=0.5-Größe-s0"
    assert cells[1].id == f"digits-macs=0.5-{'ß' * 200}-s0"
    assert len(cells[1].folder.encode()) <= 255
    RunFolder(tmp_path / "run").cell(cells[1]).mkdir(parents=True)


def test_long_ids_are_cut_to_folders_of_their_own() -> None:
    cells = expand(config(tasks={"t" * 250: DIGITS}, searchers=["random", "tpe"], seeds=[0, 1]))
    folders = [cell.folder for cell in cells]
    assert len({*folders}) == len(cells) == 8
    assert max(map(len, folders)) <= 255
    assert folders == [cell.folder for cell in expand(config(tasks={"t" * 250: DIGITS}, searchers=["random", "tpe"]))]


def test_cells_that_would_share_a_folder_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cell, "folder", property(lambda cell: cell.task))
    with pytest.raises(ConfigError, match="4 cells would be called 'digits'"):
        expand(config(searchers=["random", "tpe"], budgets=[{"macs": 0.5}]))


def test_a_run_folder_says_which_part_of_its_path_is_too_long() -> None:
    for name, bytes_ in (("x" * 256, 256), ("ß" * 128, 256), ("a\0b", 3)):
        with pytest.raises(RunError, match=f"of {bytes_} bytes cannot be a folder's name") as refused:
            RunFolder(Path("runs") / name / "x")
        assert "\n" not in str(refused.value)
    assert RunFolder("x" * 255).path.name == "x" * 255


def cells_of(*names: str) -> list[Cell]:
    return [Cell(name, Budget(macs=0.5), SearcherConfig(name="tpe"), 0) for name in names]


def test_a_file_system_that_folds_case_is_told_from_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = config(tasks={"Digits": DIGITS, "digits": DIGITS})
    RunFolder(tmp_path / "apart").create(both, cells_of("Digits", "digits"))
    assert (tmp_path / "apart" / "config.yaml").exists()

    write = folder_module.write_json

    def folding(path: Path, value: Any) -> None:
        write(path, value)
        write(path.with_name(path.name.upper()), value)

    monkeypatch.setattr(folder_module, "write_json", folding)
    for name, cells in (("tasks", ()), ("cells", cells_of("Digits", "digits"))):
        with pytest.raises(RunError, match=rf"'Digits.*' and 'digits.*' for one name: give {name}") as refused:
            RunFolder(tmp_path / "folded").create(both, cells)
        assert "\n" not in str(refused.value)
        assert list((tmp_path / "folded").iterdir()) == []
    RunFolder(tmp_path / "folded").create(config(), cells_of("digits"))


def test_a_file_system_that_takes_only_short_names_says_so_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pathconf", lambda *_: 143)
    with pytest.raises(RunError, match="takes names of 143 bytes"):
        RunFolder(tmp_path / "run").create(config(), cells_of("t" * 140))
    RunFolder(tmp_path / "run").create(config(), cells_of("t" * 100))


def test_a_folder_with_nothing_but_a_lock_is_new_and_a_failed_start_leaves_it_so(tmp_path: Path) -> None:
    for name in (".lock", ".lock.json"):
        (tmp_path / name).touch()
    folder = RunFolder(tmp_path)
    folder.create(config())
    (tmp_path / "tasks" / "digits").mkdir(parents=True)
    (tmp_path / "link").symlink_to(Path(__file__).parent)
    folder.remove()
    assert {path.name for path in tmp_path.iterdir()} == {".lock", ".lock.json"}
    assert Path(__file__).exists()


def test_a_config_in_the_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(config())
    for text in ("[", "- 1\n", "name: x\n", "run: 3\n", yaml.safe_dump({"run": {"threads": 1}})):
        (folder.path / "config.yaml").write_text(text)
        with pytest.raises(RunError, match=r"config\.yaml (cannot be read|is no config)") as refused:
            folder.reopen(config())
        assert "\n" not in str(refused.value)
