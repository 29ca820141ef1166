"""The measure that a task reports: its name, which way is better, and how its numbers read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rank_search.errors import InvalidInputError

HIGHER, LOWER = "higher", "lower"
ABSENT = "–"
SIGNIFICANT_DIGITS = 4


@dataclass(frozen=True)
class Measure:
    """What a task reports.

    Attributes:
        name: as in the columns of the results, e.g. ``accuracy``.
        better: ``higher`` or ``lower``.
        unit: ``%`` for a fraction that is read in percent, else empty.
    """

    name: str
    better: str
    unit: str

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Measure:
        """The measure of the rows of one task, which have ``measure``, ``better`` and ``unit``.

        Raises:
            InvalidInputError: if they report several, or ``better`` is neither ``higher`` nor ``lower``.
        """
        found = rows[["measure", "better", "unit"]].drop_duplicates()
        if len(found) != 1:
            raise InvalidInputError(
                f"the rows of task {rows['task'].iloc[0]} report the measures {', '.join(found['measure'])} in "
                f"{len(found)} ways; give every task one measure"
            )
        name, better, unit = map(str, found.iloc[0])
        if better not in (HIGHER, LOWER):
            raise InvalidInputError(f"better of the measure {name} is {better!r}; expected {HIGHER!r} or {LOWER!r}")
        return cls(name, better, unit)

    @property
    def in_percent(self) -> bool:
        """Whether its numbers are shown a hundred times as large."""
        return self.unit == "%"

    def shown(self, values: Any) -> Any:
        """Numbers, or arrays of them, as they are drawn: fractions in percent."""
        return 100 * values if self.in_percent else values

    def text(self, value: float) -> str:
        """A number without its unit: percent with one decimal, others with four significant digits."""
        if math.isnan(value):
            return ABSENT
        return f"{100 * value:.1f}" if self.in_percent else _significant(value)

    def half_width_text(self, value: float) -> str:
        """Half the width of an interval, as precise as :meth:`text`; empty if there is none."""
        return "" if math.isnan(value) else self.text(value)


def _significant(value: float) -> str:
    return f"{value:#.{SIGNIFICANT_DIGITS}g}".removesuffix(".")
