"""Names of files and folders that a file system takes: at most 255 bytes, whatever the alphabet."""

from __future__ import annotations

import hashlib

LONGEST_NAME = 255
"""Bytes of one name on the usual file systems."""
AROUND_A_NAME = len(".") + len(".12345678.tmp")
"""What ``write_atomically`` puts around the name of a file while it is written."""
_DIGITS = 12


def size(name: str) -> int:
    """The bytes of a name on disk."""
    return len(name.encode("utf-8", "surrogateescape"))


def fitting(name: str, most: int = LONGEST_NAME) -> str:
    """The name itself if it has at most that many bytes, else its beginning and a hash of the whole.

    Args:
        name: any text.
        most: bytes of the result, enough for the hash.
    """
    if size(name) <= most:
        return name
    whole = name.encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(whole).hexdigest()[:_DIGITS]
    return f"{whole[: most - len(digest) - 1].decode('utf-8', 'ignore')}-{digest}"
