"""The main figure: the reported measure after fine-tuning against the cost that is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rank_search.report.budget_order import largest_first, metrics
from rank_search.report.measure import LOWER, Measure

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CostLine:
    """One searcher under all budgets of one kind, by rising cost.

    Attributes:
        searcher: its name.
        label: in the legend.
        kind: which kind of budget, by the metrics that it limits: 0 for the first.
        cost: ``[n]``, kept MACs in percent.
        mean: ``[n]``, of the measure over seeds, as it is drawn.
        half_width: ``[n]``, of the 95 % interval of ``mean``; NaN where there is none.
    """

    searcher: str
    label: str
    kind: int
    cost: FloatArray
    mean: FloatArray
    half_width: FloatArray


@dataclass(frozen=True)
class MeasureAgainstCost:
    """The figure of one task.

    Attributes:
        title: above all.
        x_label, y_label: of the axes.
        lines: kind by kind, in each by searcher.
        dense: the measure of the dense net, as it is drawn; None where it is not known.
        dense_label: in the legend.
        notes: sentences below.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[CostLine, ...]
    dense: float | None
    dense_label: str
    notes: tuple[str, ...]


def measure_against_cost(task: str, rows: pd.DataFrame) -> MeasureAgainstCost:
    """One line per searcher, a point per budget, with 95 % intervals over seeds, of the test set if there is one.

    Where budgets limit different metrics, each kind of budget has lines of its own.

    Args:
        task: its name.
        rows: its rows of the leaderboard, the dense net among them.
    """
    measure = Measure.of(rows)
    methods = rows.loc[rows["budget"] != ""]
    tested = bool(methods["test"].notna().any())
    column = "test" if tested else "validation"
    drawn = methods.loc[methods[column].notna()].sort_values("kept_macs")
    lines = _lines(drawn, column, measure)
    dense = float(rows.loc[rows["budget"] == "", column].iloc[0])
    unit = f" {measure.unit}" if measure.unit else ""
    return MeasureAgainstCost(
        title=f"{task}: {measure.name} against cost",
        x_label="Kept MACs (% of the dense net)",
        y_label=f"{'Test' if tested else 'Validation'} {measure.name} after fine-tuning"
        + (f" ({measure.unit})" if measure.unit else ""),
        lines=lines,
        dense=float(measure.shown(dense)) if math.isfinite(dense) else None,
        dense_label=f"dense net, {measure.text(dense)}{unit}",
        notes=_notes(drawn, len(lines), measure),
    )


def _lines(drawn: pd.DataFrame, column: str, measure: Measure) -> tuple[CostLine, ...]:
    kind_of_row = drawn["budget"].map(lambda budget: ", ".join(metrics(budget)))
    kinds = list(dict.fromkeys(", ".join(metrics(budget)) for budget in largest_first(drawn["budget"])))
    return tuple(
        CostLine(
            searcher=str(searcher),
            label=str(searcher) if len(kinds) == 1 else f"{searcher} ({kind})",
            kind=number,
            cost=100 * points["kept_macs"].to_numpy(dtype=float),
            mean=measure.shown(points[column].to_numpy(dtype=float)),
            half_width=measure.shown(points[f"{column}_half_width"].to_numpy(dtype=float)),
        )
        for number, kind in enumerate(kinds)
        for searcher, points in drawn.loc[kind_of_row == kind].groupby("searcher")
    )


def _notes(drawn: pd.DataFrame, lines: int, measure: Measure) -> tuple[str, ...]:
    seeds = sorted(set(drawn["seeds_done"]))
    count = "-".join(map(str, dict.fromkeys([*seeds[:1], *seeds[-1:]])))
    notes = [f"Points are means over {count} seeds, bars their 95 % Student-t intervals."]
    if seeds == [1]:
        notes = ["One seed per point: no interval can be given."]
    if not seeds:
        notes = [f"No finished cell has a number for {measure.name}."]
    if measure.better == LOWER:
        notes.append(f"Lower {measure.name} is better.")
    if lines > 1:
        notes.append("Lines are set a little apart sideways, so that they do not cover each other.")
    return tuple(notes)
