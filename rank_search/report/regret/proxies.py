"""How well cheap numbers order plans: by their loss before any training, and after the common fine-tune."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from rank_search.recorded import Recording
from rank_search.space import Budget

PROXIES = ("weight_error", "params", "macs", "latency_ms", "raw_val_loss", "val_loss", "test_loss")
MEASURED = "val_loss"


@dataclass(frozen=True)
class Proxy:
    """Rank correlations of one column of a recording.

    Attributes:
        name: the column.
        before: Spearman's with the validation loss before any training, over all recorded plans within the budget.
        after: Spearman's with the mean validation loss after the fine-tune, over the plans that have one.
        tau: Kendall's with the same.
        plans, tuned: of how many plans.
    """

    name: str
    before: float
    after: float
    tau: float
    plans: int
    tuned: int


def proxies(recording: Recording, budget: Budget | None = None) -> list[Proxy]:
    """The correlations of all columns that are there.

    Args:
        recording: with plans and fine-tunes.
        budget: looks only at plans within it; None looks at all.
    """
    inside = np.arange(len(recording.plans)) if budget is None else recording.within(budget)
    measured = recording.column(MEASURED)
    inside = inside[np.isfinite(measured[inside])]
    tuned = recording.finetuned.groupby("plan")[MEASURED].mean()
    places, losses = tuned.index.to_numpy(dtype=np.int64), tuned.to_numpy(dtype=np.float64)
    usable = np.isin(places, inside)
    both, after = places[usable], losses[usable]
    found = []
    for name in PROXIES:
        if name not in recording.plans.columns:
            continue
        column = recording.column(name)
        found.append(
            Proxy(
                name,
                _spearman(column[inside], measured[inside]),
                _spearman(column[both], after),
                float(stats.kendalltau(column[both], after).statistic) if len(both) > 1 else np.nan,
                len(inside),
                len(both),
            )
        )
    return found


def _spearman(
    one: np.ndarray[tuple[int, ...], np.dtype[np.float64]], other: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> float:
    usable = np.isfinite(one) & np.isfinite(other)
    if usable.sum() < 2:
        return float("nan")
    return float(stats.spearmanr(one[usable], other[usable]).statistic)
