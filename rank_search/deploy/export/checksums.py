"""SHA-256 of files, as ``sha256sum -c`` reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path

SUMS = "SHA256SUMS"


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def sums_of(folder: Path) -> dict[str, str]:
    """Of every file of a folder but the sums themselves, by name."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != SUMS}


def write_sums(folder: Path) -> None:
    """Writes ``SHA256SUMS``."""
    lines = (f"{digest}  {name}\n" for name, digest in sums_of(folder).items())
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
