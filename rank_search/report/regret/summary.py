"""Mean regret over tasks and budgets, with bootstrap intervals over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rank_search.arrays import FloatArray

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Regret:
    """The mean regret of one searcher.

    Attributes:
        mean: over blocks (a task and a budget) of the mean over seeds.
        low, high: 95 % percentile bootstrap interval: seeds are drawn anew within every block.
        resampled: the means of the resamples, for comparisons.
    """

    mean: float
    low: float
    high: float
    resampled: FloatArray


def blocks_of(frame: pd.DataFrame, column: str) -> dict[str, dict[tuple[str, str], FloatArray]]:
    """Per searcher and block the regrets of its finished seeds; a searcher that lacks any in any block is left out."""
    done = frame.loc[frame["status"] == "done"]
    names = list(dict.fromkeys(zip(frame["task"], frame["budget"], strict=True)))
    found: dict[str, dict[tuple[str, str], FloatArray]] = {}
    for searcher, rows in done.groupby("searcher", sort=False):
        by_block = {
            (str(task), str(budget)): group[column].to_numpy(dtype=np.float64)
            for (task, budget), group in rows.groupby(["task", "budget"], sort=False)
        }
        if set(by_block) == set(names) and all(np.isfinite(values).all() for values in by_block.values()):
            found[str(searcher)] = {name: by_block[name] for name in names}
    return found


def summaries(frame: pd.DataFrame, column: str, seed: int = 0) -> dict[str, Regret]:
    """The mean regret of every searcher that has one in every block.

    Args:
        frame: as read.
        column: such as ``regret_64``.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for searcher, blocks in blocks_of(frame, column).items():
        means = np.array([values.mean() for values in blocks.values()])
        drawn = np.zeros(RESAMPLES)
        for values in blocks.values():
            places = rng.integers(len(values), size=(RESAMPLES, len(values)))
            drawn += values[places].mean(1)
        drawn /= len(blocks)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found[searcher] = Regret(float(means.mean()), float(low), float(high), drawn)
    return found


def first(found: dict[str, Regret]) -> tuple[str, float]:
    """The searcher of least mean regret, and in which share of the resamples it is first; ties count in part."""
    best = min(found, key=lambda name: found[name].mean)
    drawn = np.stack([regret.resampled for regret in found.values()])
    tied = np.isclose(drawn, drawn.min(0), rtol=0, atol=1e-12)
    share = (tied / tied.sum(0))[list(found).index(best)]
    return best, float(share.mean())
