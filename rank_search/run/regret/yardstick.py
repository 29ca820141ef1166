"""The exact optimum of a recorded task under a budget, and what regret is measured by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rank_search.recorded import RecordedTask
from rank_search.space import RankPlan


@dataclass(frozen=True)
class Yardstick:
    """Losses of the recorded plans within a budget.

    Attributes:
        best: the least validation loss: no plan has less.
        median: of the validation losses: what drawing one plan gives.
        best_test: the test loss of the plan of least validation loss.
        median_test: the median of the test losses.
        plans: how many are within the budget.
    """

    best: float
    median: float
    best_test: float
    median_test: float
    plans: int

    @classmethod
    def of(cls, task: RecordedTask) -> Yardstick:
        """Of a task under its budget."""
        inside = task.recording.within(task.budget)
        validation = task.recording.column("val_loss")[inside]
        test = task.recording.column("test_loss")[inside]
        usable = np.isfinite(validation)
        validation, test = validation[usable], test[usable]
        best = int(np.argmin(validation))
        return cls(
            float(validation[best]),
            float(np.median(validation)),
            float(test[best]),
            float(np.median(test)),
            len(inside),
        )

    def regret(self, loss: float) -> float:
        """0 for the best plan, 1 for the median one, more for worse."""
        return (loss - self.best) / max(self.median - self.best, 1e-12)

    def test_regret(self, loss: float) -> float:
        """The same of a test loss; below 0 where it is better than that of the plan of least validation loss."""
        return (loss - self.best_test) / max(self.median_test - self.best_test, 1e-12)


def place_of(task: RecordedTask, plan: RankPlan) -> int:
    """Where a recorded plan stands in the tables."""
    return task.recording.positions[task.space.indices(plan).tobytes()]
