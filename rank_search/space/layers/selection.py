"""Which layers enter the space: shell-style patterns that must match something."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from rank_search.errors import LayerSelectionError
from rank_search.plugins import nearest


def select(names: Iterable[str], include: Iterable[str] | None, exclude: Iterable[str]) -> dict[str, str]:
    """The layers that are left out, with the reason.

    Args:
        names: all layer names.
        include: patterns (``*``, ``?``, ``[...]``) of layers to take; None takes all.
        exclude: patterns of layers to leave out; wins over include.

    Raises:
        LayerSelectionError: if a pattern matches no layer, or a string is given where a list is meant.
    """
    all_names = list(names)
    included = None if include is None else _validated(all_names, include, "include")
    excluded = _validated(all_names, exclude, "exclude")
    reasons: dict[str, str] = {}
    for name in all_names:
        hit = next((pattern for pattern in excluded if fnmatchcase(name, pattern)), None)
        if hit is not None:
            reasons[name] = f"excluded by {hit!r}"
        elif included is not None and not any(fnmatchcase(name, pattern) for pattern in included):
            reasons[name] = "matched by no include pattern"
    return reasons


def _validated(names: list[str], patterns: Iterable[str], option: str) -> tuple[str, ...]:
    if isinstance(patterns, str):
        raise LayerSelectionError(f"{option} is the text {patterns!r}; give a list of patterns, e.g. [{patterns!r}]")
    found = tuple(patterns)
    for pattern in found:
        if not any(fnmatchcase(name, pattern) for name in names):
            shown = ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")
            raise LayerSelectionError(
                f"the {option} pattern {pattern!r} matches no layer{nearest(pattern, names)}; the layers are: {shown}"
            )
    return found
