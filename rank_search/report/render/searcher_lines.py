"""What is known of the registered searchers, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rank_search.errors import PluginError


def searcher_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """A header, then one line per searcher: name, family, what it needs, how faithful it is, and to what."""
    working = {name: cls for name, cls in found.items() if not isinstance(cls, PluginError)}
    rows = [("name", "family", "needs", "origin", "citation, or what it does")]
    for name, cls in working.items():
        about, summary = cls.about, (cls.__doc__ or "").strip().splitlines()[:1]
        said = about.citation or (summary[0] if summary else "")
        rows.append((name, about.family or "-", about.needs or "-", about.origin or "-", said))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        yield " ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]])
    for name, broken in found.items():
        if name not in working:
            yield f"{name.ljust(widths[0])} broken: {broken}"
