"""A searcher that does what a list says, so that a test can make it do anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from rank_search.searching import Proposal, Searcher
from rank_search.space import DENSE, Choice, RankPlan
from rank_search.task import Task

Action = Proposal | Callable[["Scripted"], Any]


def plan(r1: int, r2: int = 1, head: bool = False) -> RankPlan:
    """A plan of the tiny network; every one with ``r1, r2`` up to 2 is within 0.7 of the MACs."""
    second, last = Choice("tucker2", (r1, r2)), Choice("svd", (1,)) if head else DENSE
    return RankPlan({"first": Choice("tucker2", (1, 1)), "second": second, "head": last})


class Scripted(Searcher):
    """Takes one action a step: a proposal is returned, anything else is called and its value returned."""

    needs_data: ClassVar[bool] = False

    def __init__(self, task: Task, script: Sequence[Action], forever: bool = False) -> None:
        super().__init__(task, seed=0)
        self.script, self.forever, self.at = script, forever, 0

    def step(self) -> Proposal:
        action = self.script[min(self.at, len(self.script) - 1)]
        self.at += 1
        return action if isinstance(action, Proposal) else action(self)

    @property
    def done(self) -> bool:
        return not self.forever and self.at >= len(self.script)

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.at = int(state["at"])
