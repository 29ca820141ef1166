"""One look per searcher, the same in every picture of a run, told apart without colour vision too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Okabe and Ito (2008), "Color Universal Design": without yellow (too pale on white) and black (the dense net's).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.")
DENSE_COLOR = "#000000"
DENSE_FILL = "#DDDDDD"  # of a layer that was left dense


@dataclass(frozen=True)
class Look:
    """How one searcher is drawn."""

    color: str
    marker: str
    line: str = LINES[0]


def looks(searchers: Iterable[str]) -> dict[str, Look]:
    """A look for each searcher, by name order.

    Six differ in colour; the next six have the same colours and another line, and so on: 24 differ in colour or line,
    42 in colour or marker, 168 in any of them.
    """
    names = sorted(set(searchers))
    return {
        name: Look(COLORS[n % len(COLORS)], MARKERS[n % len(MARKERS)], LINES[n // len(COLORS) % len(LINES)])
        for n, name in enumerate(names)
    }
