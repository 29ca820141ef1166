"""The main figure: the reported measure after fine-tuning against a cost that is kept: MACs, time, another metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rank_search.report.budget_order import largest_first, metrics
from rank_search.report.measure import LOWER, Measure

FloatArray = NDArray[np.float64]

MACS, TIME = "kept_macs", "latency_share"
"""Columns of the leaderboard. ``latency_share`` is of times that were measured."""
LABELS = {MACS: "Kept MACs", TIME: "Kept time, measured", "kept_latency_ms": "Kept time, predicted"}
AGAINST = {MACS: "cost", TIME: "time", "kept_latency_ms": "predicted time"}
Bounds = tuple[float, float]
ANY: Bounds = (-math.inf, math.inf)


@dataclass(frozen=True)
class CostLine:
    """One searcher under all budgets of one kind, by rising cost.

    Attributes:
        searcher: its name.
        label: in the legend.
        kind: which kind of budget, by the metrics that it limits: 0 for the first.
        cost: ``[n]``, what is kept of it, in percent.
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
        x_bounds, y_bounds: what numbers of the axes can be; no data is outside.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[CostLine, ...]
    dense: float | None
    dense_label: str
    notes: tuple[str, ...]
    x_bounds: Bounds = ANY
    y_bounds: Bounds = ANY


def costs_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """The columns that the measure is drawn against: MACs, what else budgets limit, all other costs, the measured time.

    Args:
        rows: of one task of the leaderboard.
    """
    limited = dict.fromkeys(f"kept_{metric}" for budget in largest_first(rows["budget"]) for metric in metrics(budget))
    wanted = dict.fromkeys((MACS, *limited, *(name for name in rows.columns if name.startswith("kept_")), TIME))
    methods = rows.loc[rows["budget"] != ""]
    return tuple(column for column in wanted if column in rows.columns and methods[column].notna().any())


def measure_against_cost(task: str, rows: pd.DataFrame, cost: str = MACS) -> MeasureAgainstCost:
    """One line per searcher, a point per budget, with 95 % intervals over seeds, of the test set if there is one.

    Where budgets limit different metrics, each kind of budget has lines of its own.

    Args:
        task: its name.
        rows: its rows of the leaderboard, the dense net among them.
        cost: a column of kept shares, such as ``costs_of`` gives.
    """
    measure = Measure.of(rows)
    methods = rows.loc[rows["budget"] != ""]
    tested = bool(methods["test"].notna().any())
    column = "test" if tested else "validation"
    drawn = methods.loc[methods[column].notna() & methods[cost].notna()].sort_values(cost)
    lines = _lines(drawn, column, measure, cost)
    dense = float(rows.loc[rows["budget"] == "", column].iloc[0])
    unit = f" {measure.unit}" if measure.unit else ""
    return MeasureAgainstCost(
        title=f"{task}: {measure.name} against {AGAINST.get(cost, cost.removeprefix('kept_'))}",
        x_label=f"{LABELS.get(cost) or 'Kept ' + cost.removeprefix('kept_')} (% of the dense net)",
        y_label=f"{'Test' if tested else 'Validation'} {measure.name} after fine-tuning"
        + (f" ({measure.unit})" if measure.unit else ""),
        lines=lines,
        dense=float(measure.shown(dense)) if math.isfinite(dense) else None,
        dense_label=f"dense net, {measure.text(dense)}{unit}",
        notes=_notes(drawn, lines, measure, cost),
        x_bounds=(0.0, 100.0 if drawn[cost].max() <= 1 else math.inf),
        y_bounds=(0.0, 100.0) if measure.in_percent else ANY,
    )


def _lines(drawn: pd.DataFrame, column: str, measure: Measure, cost: str) -> tuple[CostLine, ...]:
    kind_of_row = drawn["budget"].map(lambda budget: ", ".join(metrics(budget)))
    kinds = list(dict.fromkeys(", ".join(metrics(budget)) for budget in largest_first(drawn["budget"])))
    return tuple(
        CostLine(
            searcher=str(searcher),
            label=str(searcher) if len(kinds) == 1 else f"{searcher} ({kind})",
            kind=number,
            cost=100 * points[cost].to_numpy(dtype=float),
            mean=measure.shown(points[column].to_numpy(dtype=float)),
            half_width=measure.shown(points[f"{column}_half_width"].to_numpy(dtype=float)),
        )
        for number, kind in enumerate(kinds)
        for searcher, points in drawn.loc[kind_of_row == kind].groupby("searcher")
    )


def _notes(drawn: pd.DataFrame, lines: Sequence[CostLine], measure: Measure, cost: str) -> tuple[str, ...]:
    seeds = sorted(set(drawn["seeds_done"]))
    count = "-".join(map(str, dict.fromkeys([*seeds[:1], *seeds[-1:]])))
    notes = [f"Points are means over {count} seeds, bars their 95 % Student-t intervals."]
    if seeds == [1]:
        notes = ["One seed per point: no interval can be given."]
    if not seeds:
        notes = [f"No finished cell has a number for {measure.name}."]
    if measure.better == LOWER:
        notes.append(f"Lower {measure.name} is better.")
    if measure.in_percent and any(_leaves_percents(line) for line in lines):
        notes.append("Bars are cut where a percentage ends.")
    if cost == TIME:
        timed = "; ".join(dict.fromkeys(filter(None, drawn["timed"]))) or "unknown"
        notes.append(f"Time: of {timed}, mean over seeds of the share of the dense net's, timed in turn.")
    if len(lines) > 1:
        notes.append("Lines are set a little apart sideways, so that they do not cover each other.")
    return tuple(notes)


def _leaves_percents(line: CostLine) -> bool:
    half = np.nan_to_num(line.half_width)
    return bool((line.mean + half > 100).any() or (line.mean - half < 0).any())
