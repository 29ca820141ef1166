"""How fast a search gets better: the incumbent's score against the evaluations spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from rank_search.report.render.line_frame import line_frame, put_legend, put_note
from rank_search.report.render.palette import Look

WIDE_RATIO = 30.0  # from here on, between the largest and the smallest score, the axis is logarithmic


@dataclass(frozen=True)
class Curve:
    """A step function over evaluations ``[n]``: mean, least and greatest incumbent score ``[n]`` of ``seeds`` seeds."""

    evaluations: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    seeds: int


def incumbent_curve(runs: Sequence[pd.DataFrame]) -> Curve | None:
    """Puts the seeds of one searcher together, or None if none of them has a score after an evaluation.

    The curve starts where every scored seed has an incumbent and ends with the longest seed; a seed that ended earlier
    keeps its last incumbent, because that is what it would return.

    Args:
        runs: per seed the steps, as ``read_steps`` gives them.
    """
    paths = []
    longest = 0.0
    for steps in runs:
        scores = steps["incumbent_score"].where(np.isfinite(steps["incumbent_score"])).ffill()
        per_count = scores.loc[steps["evaluations"] > 0].groupby(steps["evaluations"]).last().dropna()
        if len(per_count):
            paths.append((per_count.index.to_numpy(dtype=float), per_count.to_numpy(dtype=float)))
            longest = max(longest, float(steps["evaluations"].max()))
    if not paths:
        return None
    start = max(counts[0] for counts, _ in paths)
    grid = np.unique(np.concatenate([counts for counts, _ in paths] + [np.array([longest])]))
    grid = grid[grid >= start]
    table = np.stack([scores[np.searchsorted(counts, grid, side="right") - 1] for counts, scores in paths])
    return Curve(grid, table.mean(axis=0), table.min(axis=0), table.max(axis=0), len(paths))


def incumbent_figure(
    task: str, budget: str, steps: Mapping[str, Sequence[pd.DataFrame]], styles: Mapping[str, Look]
) -> Figure:
    """Draws the mean over seeds as a line and their range as a band; the marker is where the search ended.

    Args:
        task: the name of the task.
        budget: the text of the budget.
        steps: per searcher, per seed, the steps of its search.
        styles: a look for every searcher.
    """
    figure, axes = line_frame(
        f"{task} at {budget}: progress of the search",
        x="Evaluations spent (count)",
        y="Incumbent score (lower is better)",
    )
    curves = {searcher: incumbent_curve(runs) for searcher, runs in steps.items()}
    for searcher, curve in curves.items():
        if curve is None:
            continue
        look, seeds = styles[searcher], len(steps[searcher])
        label = searcher if curve.seeds == seeds else f"{searcher} ({curve.seeds} of {seeds} seeds)"
        axes.plot(
            curve.evaluations,
            curve.mean,
            color=look.color,
            linewidth=1.8,
            drawstyle="steps-post",
            marker=look.marker,
            markersize=7,
            markevery=[-1],
            label=label,
        )
        if curve.seeds > 1:
            axes.fill_between(
                curve.evaluations, curve.low, curve.high, step="post", color=look.color, alpha=0.18, linewidth=0
            )
    known = [curve for curve in curves.values() if curve is not None]
    unscored = [searcher for searcher, curve in curves.items() if curve is None]
    if known and min(curve.low.min() for curve in known) > 0:
        ratio = max(curve.high.max() for curve in known) / min(curve.low.min() for curve in known)
        axes.set_yscale("log" if ratio > WIDE_RATIO else "linear")
    if not known:
        axes.text(0.5, 0.5, "No evaluation gave a score.", transform=axes.transAxes, ha="center", va="center")
        axes.yaxis.set_major_locator(NullLocator())
    axes.set_xlim(left=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    put_legend(figure)
    put_note(
        figure,
        "Line: mean over seeds; band: least to greatest; marker: end of the search.",
        *([f"No curve, because no evaluation gave a score: {', '.join(unscored)}."] if unscored else []),
    )
    return figure
