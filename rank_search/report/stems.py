"""Names of a report's files: what every file system takes, and no two alike."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rank_search.records.file_names import AROUND_A_NAME, LONGEST_NAME, fitting

LONGEST_STEM = LONGEST_NAME - AROUND_A_NAME - len(".12345.png")


def stem_of(*names: str) -> str:
    """The name of a file without its ending: letters, digits and ``._=,-`` alone; a hash ends one that is too long."""
    return fitting("_".join(re.sub(r"[^\w.=,-]", "-", name) for name in names), LONGEST_STEM)


def told_apart(stems: Iterable[str]) -> list[str]:
    """The same stems, numbered where two differ in nothing, or in case alone, on disk."""
    taken: set[str] = set()
    found = []
    for stem in stems:
        numbered, number = stem, 1
        while numbered.casefold() in taken:
            number += 1
            numbered = f"{stem}-{number}"
        taken.add(numbered.casefold())
        found.append(numbered)
    return found
