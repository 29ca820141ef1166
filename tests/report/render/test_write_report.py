from __future__ import annotations

from pathlib import Path

import pytest
from seeded_runs import rows_of, write_evaluated

from rank_search.errors import InvalidInputError
from rank_search.report import report_of
from rank_search.report.render import write_report as module
from rank_search.report.render.formats import FORMATS
from rank_search.report.render.write_report import chosen, write_report
from rank_search.report.sections import Report

RUN = rows_of({"a": [0.9, 0.8], "b": [0.7, 0.7], "c": [0.6, 0.5]})


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return report_of(write_evaluated(tmp_path / "run", RUN))


def test_every_format_writes_its_files_and_nothing_else_is_left(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "there" / "paper"
    paths = write_report(report, folder, ["md", "latex", "csv"])
    assert sorted(folder.iterdir()) == sorted(paths)
    assert [path.name for path in tmp_path.joinpath("there").iterdir()] == ["paper"]
    names = {path.name for path in paths}
    stems = {"leaderboard_digits", "charged_digits", "pairs_digits", "hypervolume_digits", "mean_ranks", "pairs"}
    assert names == {"report.md", *(f"{stem}.{ending}" for stem in stems for ending in ("tex", "csv"))}
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in paths)


def test_a_folder_that_is_there_keeps_what_is_not_replaced(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    (folder / "report.md").write_text("old")
    write_report(report, folder, ["md"])
    assert (folder / "mine.txt").read_text() == "mine"
    assert (folder / "report.md").read_text().startswith("# run\n")
    assert sorted(path.name for path in folder.iterdir()) == ["mine.txt", "report.md"]


@pytest.mark.parametrize("there", [True, False])
def test_if_one_format_fails_nothing_is_written(
    there: bool, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[Path]:
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "pdf", fail)
    folder = tmp_path / "out" / "paper"
    folder.parent.mkdir()
    if there:
        folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        module.write_report(report, folder, ["md", "pdf"])
    assert list(folder.parent.rglob("*")) == ([folder] if there else [])


def test_formats_are_a_list_with_commas_or_several(tmp_path: Path) -> None:
    assert chosen(["md, csv", "latex", "md"]) == ["md", "csv", "latex"]
    with pytest.raises(InvalidInputError, match=r"'pfd' is not known \(did you mean 'pdf'\?\): give .* md, latex"):
        chosen(["pfd"])
    with pytest.raises(InvalidInputError, match="'' is not known"):
        chosen(["md,"])


def test_a_file_is_no_folder(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="is a file: give a folder"):
        write_report(report, tmp_path / "file", ["md"])
