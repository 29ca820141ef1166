"""Which plans of a space are recorded, and which of them are fine-tuned or refitted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from rank_search.arrays import IntArray
from rank_search.recorded import Recording
from rank_search.space import Budget, RankSpace

EVERYTHING = Budget(macs=2**62)  # some options cost more than the dense layer


def all_rows(space: RankSpace) -> IntArray:
    """Every plan, the last layer changing fastest."""
    shape = [len(options) for options in space.layers]
    return np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), axis=1).astype(np.int64)


def drawn_rows(space: RankSpace, count: int) -> IntArray:
    """So many different plans: half drawn uniformly, half around what the weight errors would choose."""
    rng = np.random.default_rng(0)
    found: dict[bytes, IntArray] = {}
    errors = space.relative_errors()
    dense, least = space.dense_cost["macs"], space.smallest_cost["macs"]
    for number in range(20 * count):
        if len(found) == count:
            break
        if number % 2:
            row = space.indices(space.decode(rng.random(space.width)))
        else:
            budget = Budget(macs=int(rng.uniform(max(least, 2), dense)))
            noisy = [error * np.exp(rng.normal(0, 0.5, len(error))) for error in errors]
            row = space.minimise(noisy, budget).indices
        found.setdefault(row.tobytes(), row)
    return np.stack(list(found.values()))


def spread(table: pd.DataFrame, count: int) -> IntArray:
    """Places of plans spread over cost and loss: in each of ten bands of equal count in MACs the quantiles of loss."""
    usable = np.flatnonzero(np.isfinite(table["val_loss"].to_numpy()))
    order = usable[np.argsort(table["macs"].to_numpy()[usable], kind="stable")]
    found: list[int] = []
    bands = np.array_split(order, 10)
    for i, band in enumerate(bands):
        wanted = (i + 1) * count // 10 - i * count // 10
        by_loss = band[np.argsort(table["val_loss"].to_numpy()[band], kind="stable")]
        found += by_loss[np.unique(np.rint(np.linspace(0, len(by_loss) - 1, wanted)).astype(np.int64))].tolist()
    return np.unique(np.array(found, dtype=np.int64))


def to_refit(recording: Recording, budgets: Iterable[Budget], near: int, answers: Sequence[int] = ()) -> list[int]:
    """Places of plans, each once: the fine-tuned ones, so many of least loss within every budget, then the answers.

    Args:
        recording: with plans and fine-tunes.
        budgets: one that no plan meets adds none.
        near: plans of least validation loss, as it was recorded, within each.
        answers: places that searches answered with.

    Raises:
        BudgetError: if a budget bounds a metric that was not recorded.
    """
    found = list(recording.finetuned["plan"]) if len(recording.finetuned) else []
    losses = recording.column("val_loss")
    for budget in budgets:
        inside = recording.within(budget)
        inside = inside[np.isfinite(losses[inside])]
        found += inside[np.argsort(losses[inside], kind="stable")][:near].tolist()
    return list(dict.fromkeys(map(int, [*found, *answers])))
