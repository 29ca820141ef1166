"""Files: whole or not there, and every failure one readable line."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from rank_search.errors import InvalidInputError, StorageError
from rank_search.files import read_json, read_tensors, write_atomically, write_json, write_tensors, write_text

WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text(path, "new"),
    "json": lambda path: write_json(path, {"new": [1, 2.5, None]}),
    "tensors": lambda path: write_tensors(path, {"new": torch.arange(6.0)}, {"plan": "x"}),
}


def failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def half_written(path: Path, content: bytes) -> NoReturn:
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("writer", WRITERS)
def test_folders_are_made_and_nothing_but_the_file_is_left(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "deep" / "down" / "file"
    for _ in range(2):
        WRITERS[writer](path)
        assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ü": "line\nbreak"}}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert list(read_json(tmp_path / "value.json")) == ["b", "a"]
    assert (tmp_path / "value.json").read_text().endswith("}\n")
    write_text(tmp_path / "text", "ünïcode\n")
    assert (tmp_path / "text").read_bytes() == "ünïcode\n".encode()


def test_tensors_come_back_bit_for_bit_with_their_metadata(tmp_path: Path) -> None:
    shared = torch.randn(4, 4)
    tensors = {
        "float": shared,
        "transposed": shared.T,
        "view": shared[1:, ::2],
        "whole": torch.tensor([2**62, -1]),
        "scalar": torch.tensor(3),
        "half": torch.randn(3).bfloat16(),
        "double": torch.tensor([float("nan"), float("inf"), 5e-324], dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
        "trained": torch.ones(2, requires_grad=True),
    }
    write_tensors(tmp_path / "t.safetensors", tensors, {"plan": "{}\n"})
    back, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata == {"plan": "{}\n"}
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert back[key].dtype == tensor.dtype
        assert back[key].shape == tensor.shape
        torch.testing.assert_close(back[key], tensor.detach(), rtol=0, atol=0, equal_nan=True)
    write_tensors(tmp_path / "none.safetensors", {})
    assert read_tensors(tmp_path / "none.safetensors") == ({}, {})


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("target", "broken"),
    [
        ("pathlib.Path.write_bytes", half_written),
        ("pathlib.Path.replace", failing(errno.ENOSPC)),
        ("os.fsync", failing(errno.EDQUOT)),
        ("tempfile.mkstemp", failing(errno.ENOSPC)),
    ],
    ids=["write", "rename", "flush", "create"],
)
@pytest.mark.parametrize("before", [b"old", None], ids=["over another", "new"])
def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writer: str,
    target: str,
    broken: Callable[..., NoReturn],
    before: bytes | None,
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(target, broken)
    with pytest.raises(StorageError) as caught:
        WRITERS[writer](path)
    assert str(caught.value) == (
        f"cannot write {path}: the disk is full; free some space or choose another folder, then run again"
    )
    assert isinstance(caught.value, RuntimeError)
    assert [file.name for file in tmp_path.iterdir()] == ([] if before is None else ["file"])
    assert before is None or path.read_bytes() == before


def test_an_error_of_the_writer_itself_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_any_other_reason_of_the_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match=r"cannot write .*file.below: (Not a directory|File exists)"):
        write_text(tmp_path / "file" / "below", "text")
    monkeypatch.setattr("tempfile.mkstemp", failing(errno.EACCES))
    with pytest.raises(StorageError, match="Permission denied"):
        write_text(tmp_path / "other", "text")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_json_without_a_standard_meaning_is_not_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_json, read_tensors])
def test_a_missing_file_and_a_folder_are_readable_errors(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"missing does not exist$"):
        read(tmp_path / "missing")
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": 1,}', b"\xff\xfe", b"9" * 5000, b"[" * 200_000], ids=lambda c: repr(c[:8])
)
def test_text_that_is_not_json_is_a_readable_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"value\.json is not valid JSON: ") as caught:
        read_json(tmp_path / "value.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "cut header", "empty", "garbage", "long header"])
def test_a_broken_tensor_file_is_a_readable_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": torch.randn(100)}, {"plan": "{}"})
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-10],
            "cut header": content[:20],
            "empty": b"",
            "garbage": os.urandom(7) * 30,
            "long header": b"\xff" * 8 + content[8:],
        }[damage]
    )
    with pytest.raises(InvalidInputError, match="is not a readable safetensors file") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
