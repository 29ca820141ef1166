"""Checks of a searcher's option values; each says what was given and what is allowed."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from rank_search.errors import InvalidInputError
from rank_search.plugins import nearest


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """An option's value, if it is allowed.

    Raises:
        InvalidInputError: if it is not; names the nearest.
    """
    if value not in allowed:
        raise InvalidInputError(
            f"{option}={value!r} is not allowed{nearest(str(value), allowed)}; it is one of {', '.join(allowed)}"
        )
    return value


def positive(option: str, value: Any) -> float:
    """A finite number above 0.

    Raises:
        InvalidInputError: if it is none.
    """
    if not _number(value) or not value > 0:
        raise InvalidInputError(f"{option}={value!r} is not allowed: it is a number above 0")
    return float(value)


def fraction(option: str, value: Any) -> float:
    """A number from 0 to 1.

    Raises:
        InvalidInputError: if it is none.
    """
    if not _number(value) or not 0 <= value <= 1:
        raise InvalidInputError(f"{option}={value!r} is not allowed: it is a number from 0 to 1")
    return float(value)


def boolean(option: str, value: Any) -> bool:
    """True or False.

    Raises:
        InvalidInputError: if it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidInputError(f"{option}={value!r} is not allowed: it is true or false")
    return value


def whole(option: str, value: Any, least: int) -> int:
    """A whole number, at least ``least``.

    Raises:
        InvalidInputError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{option}={value!r} is not allowed: it is a whole number, at least {least}")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
