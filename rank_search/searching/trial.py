"""The one record of a plan that was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from rank_search.errors import EvaluationError
from rank_search.space import RankPlan
from rank_search.task.evaluation import Evaluation

State = Literal["pending", "done", "cached", "failed"]


@dataclass(frozen=True)
class Trial:
    """One plan and what is known of it.

    Args:
        number: from 1, in the order of asking.
        plan: within the budget.
        state: ``pending`` until it is told; then ``done``, ``cached`` (its outcome was known, nothing was evaluated) or
            ``failed``.
        score: lower is better; None where the method has no score, or it failed.
        measures: of the objective, by name, where they were measured.
        cost: of the whole network, per metric.
        failure: why it failed, in one line.
        info: what the method logs: numbers become columns, nested values lines of the trace.
        meter: all counts and seconds of the search after it.
        incumbent: the best score of the search so far, this one included.
    """

    number: int
    plan: RankPlan
    state: State = "pending"
    score: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, int] = field(default_factory=dict)
    failure: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    meter: Mapping[str, float | int] = field(default_factory=dict)
    incumbent: float | None = None

    def told(self, outcome: Evaluation | EvaluationError) -> Trial:
        """The same trial with its outcome."""
        if isinstance(outcome, Evaluation):
            return replace(self, state="done", score=outcome.score, measures=dict(outcome.measures))
        return replace(self, state="failed", failure=" ".join(str(outcome).split()))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for a checkpoint."""
        return {**asdict(replace(self, plan=RankPlan({}))), "plan": self.plan.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trial:
        """Reads :meth:`to_dict`."""
        return cls(**{**record, "plan": RankPlan.from_json(record["plan"])})
