"""The answer of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from rank_search.errors import InvalidInputError
from rank_search.plugins import nearest
from rank_search.searching.trial import Trial
from rank_search.space import RankPlan

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SearchResult:
    """What a search found, and how.

    Args:
        plan: the best plan found, within the budget.
        cost: of the whole network, per metric.
        score: its score (lower is better), None if the method has none.
        lower_bound: no plan within the budget has a lower score; None where the method has no such proof.
        meter: all counts and seconds that the search used.
        trials: every plan that was proposed, in order.
        ended: why it ended: ``"done"``, the limit that was reached, or why the method gave up.
        gave_up: why the method gave up; None if it did not.
        trained: the dense network that a one-shot method has trained, for ``task.compress`` and ``task.finetune``; None
            where the plan is one of the task's own weights.
        remarks: what a reader of the numbers must know, a line each: operators that were not counted, work that was not
            metered.
    """

    plan: RankPlan
    cost: Mapping[str, int]
    score: float | None
    lower_bound: float | None
    meter: Mapping[str, float | int]
    trials: tuple[Trial, ...]
    ended: str
    gave_up: str | None = None
    trained: nn.Module | None = field(default=None, compare=False)
    remarks: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """A row per trial: its number, state, score, measures, costs, counts, and the numbers that the method logs."""
        import pandas as pd

        return pd.DataFrame([_row(trial) for trial in self.trials])

    def front(self, metric: str = "macs") -> list[Trial]:
        """The trials that no other one beats on score and cost, the cheapest first; of equals the first asked for.

        Raises:
            InvalidInputError: if the space does not count the metric.
        """
        if metric not in self.cost:
            raise InvalidInputError(
                f"there is no metric {metric!r}{nearest(metric, self.cost)}; it is one of {', '.join(self.cost)}"
            )
        scored = [
            (trial.cost[metric], trial.score, trial.number, trial) for trial in self.trials if trial.score is not None
        ]
        kept: list[Trial] = []
        least = math.inf
        for _, score, _, trial in sorted(scored, key=lambda entry: entry[:3]):
            if score < least:
                least = score
                kept.append(trial)
        return kept

    def __repr__(self) -> str:
        costs = ", ".join(f"{metric}={cost:,}" for metric, cost in self.cost.items())
        score = "no score" if self.score is None else f"score={self.score:.4g}"
        changed = sum(choice.form != "dense" for choice in self.plan.values())
        return (
            f"SearchResult({changed} of {len(self.plan)} layers changed, {costs}, {score}, "
            f"{len(self.trials)} trials, ended: {self.ended})"
        )


def _row(trial: Trial) -> dict[str, Any]:
    numbers = {key: value for key, value in trial.info.items() if not isinstance(value, Mapping | list | tuple)}
    return {
        "number": trial.number,
        "state": trial.state,
        "score": trial.score,
        "incumbent": trial.incumbent,
        "failure": trial.failure,
        **trial.measures,
        **trial.cost,
        **trial.meter,
        **numbers,
        "plan": trial.plan,
    }
