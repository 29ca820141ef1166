"""The shape of an input, as it is typed."""

from __future__ import annotations

from rank_search.errors import ConfigError


def shape_of(text: str) -> tuple[int, ...]:
    """Reads ``3,224,224``.

    Raises:
        ConfigError: for anything else than whole numbers from 1.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--input {text!r} is not a list of sizes, e.g. 3,224,224")
    return tuple(int(part) for part in parts)
