"""A task whose evaluations are look-ups, charged as if they had run."""

from __future__ import annotations

import math
from typing import Any

from rank_search.errors import EvaluationError, InfeasibleBudgetError, RecordingError
from rank_search.recorded.recording import Recording
from rank_search.space import Budget, RankPlan
from rank_search.task import Evaluation, Limits, Task


class RecordedTask(Task):
    """The task that was recorded: its real network, space and data, and what every plan was worth.

    :meth:`evaluate` looks up; counts are charged as for a real evaluation, and the clocks of the meter go on by the CPU
    time that it took. Everything else is real: weights, decompositions, training, the fine-tune.

    Args:
        recording: what was measured.
        others: of :class:`Task`.

    Raises:
        InfeasibleBudgetError: if no recorded plan meets the budget.
    """

    def __init__(self, recording: Recording, *others: Any, **named: Any) -> None:
        self.recording = recording
        super().__init__(*others, **named)
        self._require_recorded(self.budget)
        measures = [c.removeprefix("val_") for c in recording.plans.columns if c.startswith("val_")]
        self._measured = {name: recording.column(f"val_{name}") for name in measures}
        self._seconds = recording.column("seconds")

    def under(self, budget: Budget, seed: int | None = None, limits: Limits | None = None) -> Task:
        other = super().under(budget, seed, limits)
        self._require_recorded(budget)
        return other

    def judge(self, plan: RankPlan) -> Evaluation:
        """What was recorded of a plan.

        Raises:
            RecordingError: if it was not recorded.
            OverBudgetError, EvaluationError
        """
        self.admit(plan)
        place = self.recording.positions.get(self.space.indices(plan).tobytes())
        if place is None:
            raise RecordingError(
                f"the recording {self.recording.name!r} does not hold this plan; it holds {len(self._seconds):,} of "
                f"{self.space.size:,}"
            )
        self.meter.simulate(float(self._seconds[place]))
        measures = {name: float(values[place]) for name, values in self._measured.items()}
        if not math.isfinite(measures["loss"]):
            raise EvaluationError(f"the validation loss is {measures['loss']}: the network's outputs are not finite")
        return Evaluation(measures["loss"], measures, len(self.evaluation_set))

    def _require_recorded(self, budget: Budget) -> None:
        """Some recorded plan must be within the budget."""
        if not len(self.recording.within(budget)):
            least = ", ".join(
                f"{metric} {self.recording.column(metric).min() / self.space.dense_cost[metric]:.4f}"
                for metric in budget.metrics
            )
            raise InfeasibleBudgetError(
                f"no plan of the recording {self.recording.name!r} meets the budget {budget}; the smallest recorded, "
                f"each on its own: {least} of the dense network"
            )
