"""Files of cells on their way: through a desk and through storage, whole, in order, and no others at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rank_search.errors import RunError, StorageError
from rank_search.run.parcel import Parcel
from rank_search.run.relay import ByStorage, Desk

PARCEL: Parcel = {"trace.parquet": bytes(range(256)) * 100, "empty": b"", "row.json": b"{}"}
LATER: Parcel = {"row.json": b'{"a": 1}', "plan.json": b"[]"}


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, unfinished ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- the desk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(str(tmp_path / "cells"))


def test_a_desk_writes_into_the_folder_of_the_cell(desk: Desk, tmp_path: Path) -> None:
    assert desk.send("one", PARCEL) is None
    assert desk.send("two", LATER) is None
    assert files(tmp_path / "cells" / "one") == PARCEL
    assert files(tmp_path / "cells" / "two") == LATER
    assert (desk.fetch("one"), desk.fetch("two"), desk.fetch("three")) == (PARCEL, LATER, {})


def test_what_is_sent_later_replaces_files_of_that_name_only(desk: Desk, tmp_path: Path) -> None:
    desk.send("one", PARCEL)
    desk.send("one", LATER)
    assert files(tmp_path / "cells" / "one") == {**PARCEL, **LATER}


def test_what_is_unfinished_is_not_fetched(desk: Desk, tmp_path: Path) -> None:
    desk.send("one", PARCEL)
    (tmp_path / "cells" / "one" / "row.json.123.tmp").write_bytes(b"half")
    assert desk.fetch("one") == PARCEL


def test_finishing_drops_the_others(desk: Desk, tmp_path: Path) -> None:
    desk.send("one", PARCEL)
    desk.send("two", PARCEL)
    assert desk.finish("one", LATER) is None
    assert files(tmp_path / "cells" / "one") == LATER
    assert files(tmp_path / "cells" / "two") == PARCEL


def test_finishing_drops_nothing_if_it_could_not_be_written(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.send("one", PARCEL)

    def refuse(*args: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("rank_search.run.relay.unpack", refuse)
    assert desk.finish("one", LATER) == "the disk is full"
    assert files(tmp_path / "cells" / "one") == PARCEL


def test_a_desk_says_why_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    desk = Desk(str(tmp_path / "file"))
    for act in (desk.send, desk.finish):
        refusal = act("one", PARCEL)
        assert refusal is not None
        assert "\n" not in refusal
        assert str(tmp_path / "file") in refusal


def test_finishing_passes_over_folders(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "cells" / "one" / "own").mkdir(parents=True)
    assert desk.finish("one", LATER) is None


# -- storage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def storage(tmp_path: Path) -> ByStorage:
    return ByStorage(f"file://{tmp_path}/storage", "run-1")


def test_storage_keeps_files_by_run_and_cell(storage: ByStorage, tmp_path: Path) -> None:
    storage.send("one", PARCEL)
    storage.send("two", LATER)
    ByStorage(f"file://{tmp_path}/storage/", "run-2").send("one", LATER)
    assert files(tmp_path / "storage") == {
        **{f"run-1/one/{name}": content for name, content in PARCEL.items()},
        **{f"run-1/two/{name}": content for name, content in LATER.items()},
        **{f"run-2/one/{name}": content for name, content in LATER.items()},
    }
    assert (storage.fetch("one"), storage.fetch("two"), storage.fetch("three")) == (PARCEL, LATER, {})
    assert ByStorage(f"file://{tmp_path}/storage", "run-3").fetch("one") == {}


def test_another_process_sees_it(storage: ByStorage, tmp_path: Path) -> None:
    storage.send("one", PARCEL)
    assert ByStorage(f"file://{tmp_path}/storage", "run-1").fetch("one") == PARCEL


def test_what_is_sent_to_storage_later_replaces_files_of_that_name_only(storage: ByStorage) -> None:
    storage.send("one", PARCEL)
    storage.send("one", LATER)
    assert storage.fetch("one") == {**PARCEL, **LATER}


def test_what_is_unfinished_in_storage_is_not_fetched(storage: ByStorage, tmp_path: Path) -> None:
    storage.send("one", PARCEL)
    (tmp_path / "storage" / "run-1" / "one" / "row.json.part").write_bytes(b"half")
    assert storage.fetch("one") == PARCEL


def test_finishing_in_storage_drops_the_others(storage: ByStorage, tmp_path: Path) -> None:
    storage.send("one", PARCEL)
    storage.send("two", PARCEL)
    storage.finish("one", LATER)
    assert storage.fetch("one") == LATER
    assert files(tmp_path / "storage" / "run-1" / "one") == LATER
    assert storage.fetch("two") == PARCEL


def test_finishing_with_nothing_leaves_nothing(desk: Desk, storage: ByStorage) -> None:
    for keeper in (desk, storage):
        keeper.send("one", PARCEL)
        keeper.finish("one", {})
        assert keeper.fetch("one") == {}


def test_it_is_seen_after_it_has_begun_and_gone_after_the_end(storage: ByStorage, tmp_path: Path) -> None:
    other = ByStorage(f"file://{tmp_path}/storage", "run-2")
    assert not storage.seen()
    storage.begin()
    assert storage.seen()
    assert not other.seen()
    other.begin()
    storage.send("one", PARCEL)
    storage.end()
    assert not storage.seen()
    assert storage.fetch("one") == {}
    assert not (tmp_path / "storage" / "run-1").exists()
    assert other.seen()
    storage.end()  # twice is no error


@pytest.mark.parametrize("uri", ["", "storage", "s3", "nowhere://bucket/path", "file:/", "://x", "\n", "file//x"])
def test_a_bad_uri_is_an_error_in_a_line_that_says_what_to_do(uri: str, tmp_path: Path) -> None:
    if uri == "file:/":
        (tmp_path / "file").write_text("")
        uri = f"file://{tmp_path}/file/below"
    with pytest.raises(RunError, match=r"^run\.storage: .*; give another URI, or null to send results") as caught:
        ByStorage(uri, "run-1").begin()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "act", [lambda storage: storage.send("one", PARCEL), lambda storage: storage.finish("one", PARCEL)]
)
def test_a_folder_that_cannot_be_written_is_an_error_in_a_line(
    act: Callable[[ByStorage], None], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    uri = f"file://{tmp_path}/file/below"
    with pytest.raises(StorageError) as caught:
        act(ByStorage(uri, "run-1"))
    assert str(caught.value).startswith(f"cannot write to the storage {uri}: ")
    assert "\n" not in str(caught.value)


def test_names_with_spaces_come_back(storage: ByStorage, desk: Desk) -> None:
    for keeper in (storage, desk):
        keeper.send("a b+c", {"two words.json": b"1"})
        assert keeper.fetch("a b+c") == {"two words.json": b"1"}


def test_a_uri_with_percent_escapes_is_the_folder_it_says(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    ByStorage(f"file://{tmp_path}/a%20b", "run-1").send("one", LATER)
    assert files(tmp_path / "a b" / "run-1" / "one") == LATER
