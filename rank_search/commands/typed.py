"""Lists of numbers, as they are typed."""

from __future__ import annotations

import math

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


def colours_of(option: str, text: str | None, positive: bool = False) -> tuple[float, ...] | None:
    """Reads ``0.485,0.456,0.406``, or one number for all three colours; None stays None.

    Args:
        option, text: as given.
        positive: whether the numbers must be.

    Raises:
        ConfigError: for anything else.
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)) or (positive and min(values) <= 0):
        kind = "positive numbers" if positive else "numbers"
        raise ConfigError(f"{option} {text!r} is not one or three {kind}, e.g. 0.5 or 0.49,0.48,0.45")
    return values * (3 // len(values))
