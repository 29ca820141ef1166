"""What figures are drawn for: a screen, with title and notes, or a column of a paper, which has a caption."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A place for figures.

    Attributes:
        width, height: inches of a figure with lines; one with panels, or a column per searcher, is as wide as it must.
        words: whether title and notes are drawn.
        scale: of lines and markers.
        text: size of text in points.
    """

    width: float
    height: float
    words: bool
    scale: float
    text: float


SCREEN = Page(8.0, 5.0, True, 1.0, 10.0)
PAPER = Page(3.3, 2.4, False, 0.6, 7.0)
"""A column of the usual two."""
