"""Rules: methods that name a plan, or a handful of them, without a search."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from rank_search.searching.searcher import Proposal, Searcher, evaluated
from rank_search.space import RankPlan
from rank_search.task.oracles import Oracles


class RuleSearcher(Searcher):
    """A rule that names its plans at once. A single one is the answer as it is, and nothing is evaluated for it; of
    several each is evaluated, and the best is the answer. Without data the sum of relative weight errors decides.
    """

    def __init__(self, task: Oracles, *, seed: int) -> None:
        super().__init__(task, seed=seed)
        self._plans: list[RankPlan] | None = None
        self._scores: list[float | None] = []

    @abstractmethod
    def plans(self) -> Sequence[RankPlan]:
        """The plans, within the budget; asked for once. Those that stand twice count once."""

    def more(self, plans: Sequence[RankPlan], scores: Sequence[float | None]) -> Sequence[RankPlan]:
        """Plans that follow from what the first ones were worth; asked for once, when all of them were judged.

        Args:
            plans: the first ones.
            scores: of each, lower is better; None where it could not be judged.
        """
        return ()

    @property
    def done(self) -> bool:
        return self._plans is not None and len(self._scores) >= len(self._plans)

    def step(self) -> Proposal:
        if self._plans is None:
            self._plans = list(dict.fromkeys(self.plans()))
            self._first = len(self._plans)
        plan = self._plans[len(self._scores)]
        if len(self._plans) == 1:
            self._scores.append(None)
            return Proposal(plan)
        proposal = self._judged(plan)
        self._scores.append(proposal.score)
        if len(self._scores) == self._first == len(self._plans):
            following = self.more(tuple(self._plans), tuple(self._scores))
            self._plans = list(dict.fromkeys([*self._plans, *following]))
        return proposal

    def _judged(self, plan: RankPlan) -> Proposal:
        if self.task.has_data:
            return evaluated(self.task, plan)
        error = self.task.weight_error(plan)
        if math.isinf(error):
            return Proposal(plan, failure="no finite fit was found for one of its ranks")
        return Proposal(plan, error)

    def state_dict(self) -> dict[str, Any]:
        if self._plans is None:
            return {"plans": None, "scores": [], "first": 0}
        return {"plans": [plan.to_dict() for plan in self._plans], "scores": list(self._scores), "first": self._first}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        plans = state["plans"]
        self._plans = None if plans is None else [RankPlan.from_json(plan) for plan in plans]
        self._scores, self._first = list(state["scores"]), int(state["first"])
