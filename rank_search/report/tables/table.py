"""A table as a value: columns of text, apart from where and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

MIDDLE = " ± "
"""Stands between a mean and the half width of its interval in a cell; a renderer may set these below each other."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        header: one or two lines.
        cells: one text per row; ``97.8 ± 0.6`` for a mean with its interval.
        narrow: the same cells in fewer letters, for where there is no room; empty if there is no shorter way.
        numeric: whether the cells are numbers, which stand at the right and are never shortened.
    """

    header: str
    cells: tuple[str, ...]
    narrow: tuple[str, ...] = ()
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: above it.
        columns: from the left, each with a cell per row.
        groups: per row its group; where it changes, a line may be drawn.
        name: of its file, e.g. ``pairs_digits``; empty for a table that has no file.
        numbers: behind the cells, in full precision; it may have more rows. None for a table of texts alone.
    """

    title: str
    columns: tuple[Column, ...]
    groups: tuple[str, ...]
    name: str = ""
    numbers: pd.DataFrame | None = field(default=None, compare=False, repr=False)
