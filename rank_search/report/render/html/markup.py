"""Elements of HTML as text; whatever stands in them is escaped here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

_NOT_SHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Markup(str):
    """Text that is HTML already; any other text is escaped when it becomes a part of it."""

    __slots__ = ()


def text(value: str) -> Markup:
    """Text as it is shown: escaped, without control characters and the colours of terminals."""
    if isinstance(value, Markup):
        return value
    return Markup(escape(_NOT_SHOWN.sub("", _ESCAPE_SEQUENCE.sub("", value))))


def lines(value: str) -> Markup:
    """Text whose lines are kept as lines."""
    return Markup("<br>".join(map(text, value.split("\n"))))


def element(name: str, *content: str, **attributes: str | bool | None) -> Markup:
    """An element with its end tag.

    Args:
        name: of the element.
        content: what stands in it; text is escaped, markup is not.
        attributes: by name, ``_`` at the end is dropped and within is ``-``; None and False leave one out, True has no
            value.
    """
    return Markup(f"<{name}{_attributes(attributes)}>{''.join(map(text, content))}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Parts one after another, a line each."""
    return Markup("\n".join(map(text, parts)))


def _attributes(given: dict[str, str | bool | None]) -> str:
    found = []
    for name, value in given.items():
        if value is None or value is False:
            continue
        spelled = name.rstrip("_").replace("_", "-")
        found.append(f" {spelled}" if value is True else f' {spelled}="{text(str(value))}"')
    return "".join(found)
