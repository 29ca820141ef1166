"""The main picture: accuracy after fine-tuning against the cost that is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from rank_search.report.budget_order import largest_first, metrics
from rank_search.report.render.line_frame import line_frame, put_legend, put_note
from rank_search.report.render.palette import DENSE_COLOR, Look

SIDE_STEP, SIDE_SPREAD = 4.0, 32.0  # points between the error bars of two lines that meet one budget; at most in all
LEAST_SPAN = 10.0  # percentage points of kept MACs on the axis, so that a single budget is not blown up
LINE_STYLES = ("-", ":", "-.", "--")


def accuracy_figure(task: str, rows: pd.DataFrame, styles: Mapping[str, Look]) -> Figure:
    """Draws one line per searcher, a point per budget, with 95 % intervals over seeds; the dense net is a dashed line.

    Where budgets limit different metrics, each kind of budget has lines of its own, hollow from the second kind on.

    Args:
        task: the name of the task.
        rows: the rows of the leaderboard for this task, the dense net among them.
        styles: a look for every searcher.
    """
    methods = rows.loc[rows["budget"] != ""]
    tested = bool(methods["test_accuracy"].notna().any())
    column = "test_accuracy" if tested else "val_accuracy"
    figure, axes = line_frame(
        f"{task}: accuracy against cost",
        x="Kept MACs (% of the dense net)",
        y=f"{'Test' if tested else 'Validation'} accuracy after fine-tuning (%)",
    )
    drawn = methods.loc[methods[column].notna()].sort_values("kept_macs")
    kind_of_row = drawn["budget"].map(lambda budget: ", ".join(metrics(budget)))
    kinds = list(dict.fromkeys(", ".join(metrics(budget)) for budget in largest_first(drawn["budget"])))
    lines = [
        (kind, str(searcher), points)
        for kind in kinds
        for searcher, points in drawn.loc[kind_of_row == kind].groupby("searcher")
    ]
    step = min(SIDE_STEP, SIDE_SPREAD / max(1, len(lines)))
    for place, (kind, searcher, points) in enumerate(lines):
        label = searcher if len(kinds) == 1 else f"{searcher} ({kind})"
        shift = step * (place - (len(lines) - 1) / 2)
        _draw(axes, points, column, styles[searcher], kinds.index(kind), label, shift)
    dense = 100 * float(rows.loc[rows["budget"] == "", column].iloc[0])
    if math.isfinite(dense):
        axes.axhline(dense, color=DENSE_COLOR, linestyle="--", linewidth=1.2, label=f"dense net, {dense:.1f} %")
    axes.margins(x=0.08, y=0.08)
    axes.autoscale_view()
    left, right = axes.get_xlim()
    widen = max(0.0, LEAST_SPAN - (right - left)) / 2
    axes.set_xlim(left - widen, right + widen)
    put_legend(figure)
    put_note(figure, *_note(drawn, len(lines)))
    return figure


def _draw(axes: Axes, points: pd.DataFrame, column: str, look: Look, kind: int, label: str, shift: float) -> None:
    """Draws one line, ``shift`` points to the right."""
    x, y = 100 * points["kept_macs"].to_numpy(), 100 * points[column].to_numpy()
    half_widths = points[f"{column}_half_width"]
    half = 100 * half_widths.fillna(0.0).to_numpy()
    axes.errorbar(
        x,
        y,
        yerr=half if half_widths.notna().any() else None,
        color=look.color,
        marker=look.marker,
        markersize=6,
        markerfacecolor="white" if kind else look.color,
        linestyle=LINE_STYLES[kind % len(LINE_STYLES)],
        linewidth=1.4,
        elinewidth=1.2,
        capsize=3,
        label=label,
        transform=axes.transData + ScaledTranslation(shift / 72, 0.0, axes.figure.dpi_scale_trans),
    )
    # A shifted line does not widen the axes by itself.
    axes.update_datalim(np.column_stack([np.tile(x, 2), np.concatenate([y - half, y + half])]))


def _note(drawn: pd.DataFrame, lines: int) -> list[str]:
    seeds = sorted(set(drawn["seeds_done"]))
    count = "-".join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))
    note = [f"Points are means over {count} seeds, bars their 95 % Student-t intervals."]
    if seeds == [1]:
        note = ["One seed per point: no interval can be given."]
    if lines > 1:
        note.append("Lines are set a little apart sideways, so that they do not cover each other.")
    return note
