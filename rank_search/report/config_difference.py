"""Where two sections of configs differ: the keys that lead there, and both values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MOST, LONGEST = 3, 60
"""Differences that are named, and letters of a value."""


def difference(one: Any, other: Any) -> str:
    """Such as ``finetune.lr (0.01, 0.02)``, the first by name and a few more; empty where nothing differs.

    Args:
        one, other: nested mappings, lists and plain values.
    """
    found = [f"{path} ({_said(mine)}, {_said(theirs)})" for path, mine, theirs in _leaves(one, other, "")]
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return ", ".join(found[:MOST]) + more


class _Absent:
    def __str__(self) -> str:
        return "not given"


_ABSENT = _Absent()


def _leaves(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*map(str, one), *map(str, other)}):
            yield from _leaves(_value(one, key), _value(other, key), f"{path}.{key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _leaves(mine, theirs, f"{path}[{place}]")
    elif one != other:
        yield path or "all", one, other


def _value(section: Mapping[Any, Any], key: str) -> Any:
    return next((value for name, value in section.items() if str(name) == key), _ABSENT)


def _said(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
