"""The contract: what a method must do to choose ranks, and nothing else."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch import nn

from rank_search.errors import EvaluationError, SearcherError
from rank_search.plugins import Registry
from rank_search.space import RankPlan
from rank_search.task.task import Task

ENUMERABLE = 20_000  # spaces up to this size are walked through to the last plan
DRAWS = 64  # random draws before a larger space is taken as exhausted


@dataclass(frozen=True)
class Outcome:
    """What an evaluation said of a plan.

    Args:
        score: validation loss in nats, lower is better; None if the evaluation failed.
        accuracy: on the same images; None if it failed.
        failure: why it failed, in one line.
    """

    score: float | None
    accuracy: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Proposal:
    """One step's result.

    Args:
        plan: within the budget; None when the step had none (then the search goes on unless it is done).
        score: lower is better, comparable between the proposals of one search; None if the method has no score.
        accuracy: validation accuracy, if it was measured.
        failure: why the plan could not be evaluated.
        cached: the outcome was known and nothing was evaluated.
        info: plain JSON values worth keeping, e.g. ``lower_bound``.
    """

    plan: RankPlan | None
    score: float | None = None
    accuracy: float | None = None
    failure: str | None = None
    cached: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


class Searcher(ABC):
    """One search over one task.

    A subclass takes ``task``, ``seed`` and its own keyword options, draws all randomness from the seed, works through
    the task's metered oracles only, and keeps everything that its next step depends on in :meth:`state_dict`. The
    search's answer is the proposal of the lowest score, or the last one where no proposal has a score.

    Attributes:
        needs_data: whether the task must have data.
        gave_up: why the search ended before it was through, in one line; None if it did not.
    """

    needs_data: ClassVar[bool] = True
    gave_up: str | None = None

    def __init__(self, task: Task, *, seed: int) -> None:
        self.task, self.seed = task, seed

    @abstractmethod
    def step(self) -> Proposal:
        """One unit of work: an epoch, a round, one evaluation."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether there is nothing left to do."""

    def trained(self) -> nn.Module | None:
        """The dense network with the weights that a one-shot method has trained, which its answer is built from.

        None, as with every method that does not train: the answer is built from the task's own weights.
        """
        return None

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on: plain JSON values, NumPy arrays and tensors, nested as you like."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state of the same task, seed and options."""


class AskTellSearcher(Searcher):
    """A black-box method: :meth:`ask` names a plan, :meth:`tell` hears what it is worth.

    A step asks, evaluates and tells. A plan asked for again is answered from what is known, without an evaluation.
    """

    def __init__(self, task: Task, *, seed: int) -> None:
        super().__init__(task, seed=seed)
        self.outcomes: dict[RankPlan, Outcome] = {}
        self._exhausted = False

    @abstractmethod
    def ask(self) -> RankPlan | None:
        """The next plan, within the budget; None when nothing new is left."""

    @abstractmethod
    def tell(self, plan: RankPlan, outcome: Outcome) -> None:
        """Hears the outcome of a plan that was asked for."""

    def step(self) -> Proposal:
        plan = self.ask()
        if plan is None:
            self._exhausted = True
            return Proposal(None)
        if not isinstance(plan, RankPlan):
            raise SearcherError(f"{type(self).__name__}.ask() returned {plan!r}, not a RankPlan or None")
        known = self.outcomes.get(plan)
        outcome = known if known is not None else evaluate(self.task, plan)
        self.outcomes[plan] = outcome
        self.tell(plan, outcome)
        return Proposal(plan, outcome.score, outcome.accuracy, outcome.failure, cached=known is not None)

    @property
    def done(self) -> bool:
        return self._exhausted

    def unseen(self, rng: np.random.Generator) -> RankPlan | None:
        """A plan within the budget that has no outcome yet: a random one, in a small space any that is left."""
        for _ in range(DRAWS):
            plan = self.task.space.random_plan(rng, self.task.budget)
            if plan not in self.outcomes:
                return plan
        if self.task.space.size <= ENUMERABLE:
            return next((p for p in self.task.space.feasible_plans(self.task.budget) if p not in self.outcomes), None)
        return None

    def state_dict(self) -> dict[str, Any]:
        outcomes = [[plan.to_dict(), o.score, o.accuracy, o.failure] for plan, o in self.outcomes.items()]
        return {"outcomes": outcomes, "exhausted": self._exhausted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.outcomes = {RankPlan.from_json(plan): Outcome(*rest) for plan, *rest in state["outcomes"]}
        self._exhausted = bool(state["exhausted"])


def evaluate(task: Task, plan: RankPlan) -> Outcome:
    """The task's evaluation as an outcome; a plan that cannot be evaluated is a failure, not the end of the search."""
    try:
        evaluation = task.evaluate(plan)
    except EvaluationError as error:
        return Outcome(None, None, str(error))
    if not math.isfinite(evaluation.loss):
        return Outcome(None, None, f"the validation loss is {evaluation.loss}")
    return Outcome(evaluation.loss, evaluation.accuracy)


searchers: Registry[Searcher] = Registry("rank_search.searchers", "searcher", lambda: Searcher)

S = TypeVar("S", bound=type[Searcher])


def register_searcher(name: str) -> Callable[[S], S]:
    """Class decorator that registers a searcher in this process.

    Raises:
        PluginError: if the name is taken, or the class is not a Searcher.
    """

    def add(cls: S) -> S:
        searchers.register(name, cls)
        return cls

    return add
