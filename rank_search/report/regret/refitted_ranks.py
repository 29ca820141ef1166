"""Whether the order of methods holds when repair is good: their answers by recalibrated and by refitted loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from rank_search.recorded import Recording
from rank_search.report.regret.read import ANSWER

LOSS = "val_loss"
"""Of both: the same samples, so that only the repair differs."""


@dataclass(frozen=True)
class RefittedRanks:
    """Mean ranks over blocks (a task and a budget each) of the mean loss over seeds, 1 is best.

    Attributes:
        recalibrated, refitted: by searcher, the best refitted first; only of searchers with a refitted answer in every
            block, and both over the same cells: those whose answer was refitted.
        answers: by searcher, of how many cells (task, budget, seed) the answer was refitted, and how many have one.
        blocks: how many.
        tau: Kendall's between the two; NaN for fewer than two searchers.
    """

    recalibrated: dict[str, float]
    refitted: dict[str, float]
    answers: dict[str, tuple[int, int]]
    blocks: int
    tau: float


def refitted_ranks(frame: pd.DataFrame, recordings: Mapping[str, Recording], at: int) -> RefittedRanks | None:
    """The ranks of the answers at one count; None if no recording has refitted plans, or no answers were kept.

    Args:
        frame: as read.
        recordings: by task; the cells of a recording without refitted plans are left out.
        at: the count.
    """
    tables = {task: recording.refitted for task, recording in recordings.items() if recording.refitted is not None}
    if f"{ANSWER}{at}" not in frame.columns:
        return None
    cells = frame.loc[(frame["status"] == "done") & frame["task"].isin(tables) & frame[f"{ANSWER}{at}"].notna()]
    if cells.empty:
        return None
    cells = cells.assign(recalibrated=math.nan, refitted=math.nan)
    for task, table in tables.items():
        places = cells.loc[cells["task"] == task, f"{ANSWER}{at}"].astype(np.int64)
        cells.loc[places.index, "refitted"] = places.map(table.set_index("plan")[LOSS].astype(np.float64))
        cells.loc[places.index, "recalibrated"] = recordings[task].column(LOSS)[places]
    known = cells.loc[np.isfinite(cells["refitted"]) & np.isfinite(cells["recalibrated"])]
    blocks = cells.groupby(["task", "budget"]).ngroups
    losses = {kind: _complete(known, kind, blocks) for kind in ("recalibrated", "refitted")}
    ranks = {kind: _mean_ranks(table) for kind, table in losses.items()}
    order = sorted(ranks["refitted"], key=lambda name: ranks["refitted"][name])
    one, other = ([ranks[kind][name] for name in order] for kind in ("recalibrated", "refitted"))
    return RefittedRanks(
        {name: ranks["recalibrated"][name] for name in order},
        {name: ranks["refitted"][name] for name in order},
        {
            str(name): (int((known["searcher"] == name).sum()), int((cells["searcher"] == name).sum()))
            for name in dict.fromkeys(cells["searcher"])
        },
        blocks,
        float(stats.kendalltau(one, other).statistic) if len(order) > 1 else math.nan,
    )


def _complete(known: pd.DataFrame, kind: str, blocks: int) -> pd.DataFrame:
    """Mean losses ``[searchers, blocks]`` of the searchers that have one in every block."""
    table = known.pivot_table(index="searcher", columns=["task", "budget"], values=kind, aggfunc="mean", sort=False)
    return table.dropna() if table.shape[1] == blocks else table.iloc[:0]


def _mean_ranks(table: pd.DataFrame) -> dict[str, float]:
    if table.empty:
        return {}
    ranks = stats.rankdata(np.round(table.to_numpy(), 12), axis=0).mean(1)
    return dict(zip(map(str, table.index), map(float, ranks), strict=True))
