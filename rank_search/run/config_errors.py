"""Turning pydantic's errors into one readable line with the nearest valid key."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from rank_search.plugins import nearest

RENAMED = {
    "images": "samples",
    "recalibration_images": "recalibration_samples",
    "calibration_images": "calibration_samples",
}


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """All mistakes in one line, each with the dotted key it is about."""
    lines = []
    for item in error.errors():
        where = [part for part in item["loc"] if not str(part).startswith(("function-", "dict["))]
        key = ".".join(map(str, where))
        if item["type"] == "extra_forbidden" and where[-1] in RENAMED:
            lines.append(f"the key {key!r} is now called {RENAMED[where[-1]]!r}")
        elif item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            valid = _fields_at(root, where[:-1])
            lines.append(f"unknown key {key!r}{nearest(str(where[-1]), valid)}; valid here: {', '.join(valid)}")
        elif item["type"] == "missing":
            lines.append(f"the key {key!r} is missing")
        else:
            message = item["msg"].removeprefix("Value error, ")
            given = repr(item["input"])
            shown = f" ({given} was given)" if len(given) < 60 and given not in message else ""
            lines.append(f"{key}: {message}{shown}")
    return "; ".join(dict.fromkeys(lines))


def _fields_at(root: type[Any], where: list[Any]) -> list[str]:
    """Names of the fields of the section that a key path leads to."""
    here: Any = root
    for part in where:
        here = _inner(here, str(part))
    if isinstance(here, type) and issubclass(here, BaseModel):
        return sorted(here.model_fields)
    if dataclasses.is_dataclass(here):
        return sorted(field.name for field in dataclasses.fields(here))
    return []


def _inner(kind: Any, part: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
        return _section(kind.model_fields[part].annotation)
    return _section(kind)


def _section(annotation: Any) -> Any:
    """The section class inside ``list[X]``, ``dict[str, X]`` or ``X | None``."""
    arguments = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    if not arguments:
        return annotation
    return _section(arguments[-1])
