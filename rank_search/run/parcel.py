"""Files of a folder as one value that Ray can carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rank_search.files import storage_errors, write_atomically

Parcel = Mapping[str, bytes]
"""The content of files, by their path below a folder, with ``/``."""


def packed(folder: Path, names: Iterable[str] | None = None) -> Parcel:
    """The files below a folder: all of them, or those of these names that are there; unfinished ones are left out."""
    if names is not None:
        return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpack(parcel: Parcel, folder: Path) -> None:
    """Writes the files, each whole or not at all, in the parcel's order.

    Raises:
        StorageError
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in parcel.items():
        write_atomically(folder / name, lambda temporary, content=content: _write(temporary, content))  # type: ignore[misc]


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
