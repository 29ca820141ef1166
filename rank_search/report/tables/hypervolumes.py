"""The hypervolume of kept cost and error over the budgets of a task, per searcher."""

from __future__ import annotations

import math

import pandas as pd

from rank_search.report.budget_order import metrics
from rank_search.report.measure import ABSENT, HIGHER, Measure
from rank_search.report.pairs import reported_column
from rank_search.report.statistics.hypervolume import hypervolume
from rank_search.report.statistics.interval import Interval, mean_interval
from rank_search.report.tables.table import MIDDLE, Column, Table

FEWEST_BUDGETS = 2


def hypervolumes_table(task: str, cells: pd.DataFrame) -> Table | None:
    """Mean over the seeds that finished every budget; None for fewer than two budgets.

    The error is one less the measure where that is a fraction, the measure itself where lower is better, and else its
    negative. The reference, which counts as nothing, is the whole cost and the worst error of any finished cell, so
    that numbers of two reports are not comparable.

    Args:
        task: its name.
        cells: its rows of results.
    """
    measure = Measure.of(cells)
    column = reported_column(cells, measure)
    done = cells.loc[(cells["status"] == "done") & cells[column].notna()]
    budgets = set(done["budget"])
    if len(budgets) < FEWEST_BUDGETS:
        return None
    cost = _cost(done)
    done = done.assign(error=_error(done[column], measure))
    worst = float(done["error"].max())
    found = {
        str(name): _over_seeds(rows, cost, worst, len(budgets)) for name, rows in done.groupby("searcher", sort=True)
    }
    order = sorted(found, key=lambda name: (math.isnan(found[name].mean), -found[name].mean, name))
    columns = (
        Column("searcher\n", tuple(order), numeric=False),
        Column("hypervolume\n(higher is better)", tuple(_text(found[name]) for name in order)),
        Column("seeds\n", tuple(str(found[name].n) for name in order)),
    )
    reference = measure.text(1 - worst if _is_fraction(measure) else worst if measure.better != HIGHER else -worst)
    where = "test" if column.startswith("test_") else "validation"
    title = (
        f"{task}: hypervolume over {len(budgets)} budgets of {cost} and {where} {measure.name}; reference: 1 and the "
        f"worst, {reference}{f' {measure.unit}' if measure.unit else ''}"
    )
    numbers = pd.DataFrame(
        [{"task": task, "searcher": n, "hypervolume": found[n].mean, "half_width": found[n].half_width} for n in order]
    ).assign(seeds=[found[n].n for n in order], cost=cost, reference_cost=1.0, reference_error=worst)
    return Table(title, columns, tuple("" for _ in order), f"hypervolume_{task}", numbers)


def _cost(done: pd.DataFrame) -> str:
    """What all budgets limit first, if it is one metric; else MACs."""
    limited = {metrics(budget)[:1] for budget in done["budget"]}
    names = [f"kept_{metric}" for metric in (limited.pop() if len(limited) == 1 else ())]
    return next((name for name in names if name in done.columns and done[name].notna().all()), "kept_macs")


def _is_fraction(measure: Measure) -> bool:
    return measure.in_percent and measure.better == HIGHER


def _error(values: pd.Series[float], measure: Measure) -> pd.Series[float]:
    if measure.better != HIGHER:
        return values
    return 1 - values if measure.in_percent else -values


def _over_seeds(rows: pd.DataFrame, cost: str, worst: float, budgets: int) -> Interval:
    whole = [seed for _, seed in rows.groupby("seed") if len(seed) == budgets]
    areas = [hypervolume(list(zip(seed[cost], seed["error"], strict=True)), (1.0, worst)) for seed in whole]
    return mean_interval(areas) if areas else Interval(math.nan, math.nan, 0)


def _text(found: Interval) -> str:
    if math.isnan(found.mean):
        return ABSENT
    return f"{found.mean:.4g}" + ("" if math.isnan(found.half_width) else f"{MIDDLE}{found.half_width:.2g}")
