"""The contract: what a method must do to choose ranks, and nothing else."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch import nn

from rank_search.errors import EvaluationError
from rank_search.plugins import Registry
from rank_search.searching.about import About
from rank_search.searching.trial import Trial
from rank_search.space import RankPlan
from rank_search.space.unseen import DRAWS, ENUMERABLE
from rank_search.task.oracles import Oracles
from rank_search.task.task import Task


@dataclass(frozen=True)
class Proposal:
    """The result of one step of a method that is no black box.

    Args:
        plan: within the budget; None when the step had none (then the search goes on unless it is done).
        score: lower is better, comparable between the proposals of one search; None if the method has no score.
        measures: of the objective, if they were measured.
        failure: why the plan could not be evaluated.
        cached: the outcome was known and nothing was evaluated.
        info: plain JSON values worth keeping, e.g. ``lower_bound``.
    """

    plan: RankPlan | None
    score: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    cached: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


class SearcherBase(ABC):
    """What both kinds of searchers have.

    A subclass takes ``task``, ``seed`` and its own keyword options, draws all randomness from the seed, works through
    the task's metered oracles only, and keeps everything that it depends on in :meth:`state_dict`. The search's answer
    is the plan of the lowest score, or the last one where none has a score.

    Args:
        task: what the searcher may see of it; a :class:`Task` is wrapped.
        seed: from 0.

    Attributes:
        needs_data: whether the task must have data.
        gave_up: why the search ended before it was through, in one line; None if it did not.
        about: where the method comes from and what it needs, for ``rank-search list``.
        renamed: options that went elsewhere, with one line that says where.
    """

    needs_data: ClassVar[bool] = True
    about: ClassVar[About] = About()
    renamed: ClassVar[Mapping[str, str]] = {}
    gave_up: str | None = None

    def __init__(self, task: Oracles | Task, *, seed: int) -> None:
        self.task, self.seed = Oracles(task) if isinstance(task, Task) else task, seed

    def trained(self) -> nn.Module | None:
        """The network that the fine-tune goes on from, where the method has trained one.

        Either the dense network with weights of its own, which the answer's plan is then applied to, or the answer's
        own compressed network. None, as with every method that does not train: the task's weights are compressed.
        """
        return None

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything the search depends on: plain JSON values, NumPy arrays and tensors, nested as you like."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state of the same task, seed and options."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(seed={self.seed})"


class Searcher(SearcherBase):
    """A method that goes its own way, step by step: it solves, trains or relaxes, and proposes plans on the way."""

    @abstractmethod
    def step(self) -> Proposal:
        """One unit of work: an epoch, a round, one evaluation."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether there is nothing left to do."""


class AskTellSearcher(SearcherBase):
    """A black-box method: :meth:`ask` names a plan, :meth:`tell` hears what it is worth.

    The loop evaluates, up to ``parallel`` plans at once, and tells them in the order of asking. A plan asked for again
    is answered from what is known, without an evaluation.

    Attributes:
        trials: what every plan that was told is worth.
    """

    def __init__(self, task: Oracles | Task, *, seed: int) -> None:
        super().__init__(task, seed=seed)
        self.trials: dict[RankPlan, Trial] = {}

    @abstractmethod
    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        """The next plan, within the budget; None when there is none to be asked for (now, if any is pending).

        Args:
            pending: trials that were asked for and not told yet; their plans are not to be asked for again.
        """

    @abstractmethod
    def tell(self, trial: Trial) -> None:
        """Hears of a plan that was asked for: ``trial.score`` is the validation loss, None if it failed."""

    def hear(self, trial: Trial) -> None:
        """Remembers a trial, then tells it."""
        self.trials[trial.plan] = trial
        self.tell(trial)

    def unseen(self, rng: np.random.Generator, pending: Sequence[Trial] = ()) -> RankPlan | None:
        """A plan within the budget that was not asked for yet: a random one, in a small space any that is left."""
        under_way = {trial.plan for trial in pending}
        for _ in range(DRAWS):
            plan = self.task.space.random_plan(rng, self.task.budget)
            if plan not in self.trials and plan not in under_way:
                return plan
        if self.task.space.size <= ENUMERABLE:
            plans = self.task.space.feasible_plans(self.task.budget)
            return next((plan for plan in plans if plan not in self.trials and plan not in under_way), None)
        return None

    def state_dict(self) -> dict[str, Any]:
        trials = [replace(trial, info={}, meter={}).to_dict() for trial in self.trials.values()]
        return {"trials": trials}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        trials = [Trial.from_dict(record) for record in state["trials"]]
        self.trials = {trial.plan: trial for trial in trials}


def evaluated(task: Oracles, plan: RankPlan) -> Proposal:
    """The task's evaluation as a proposal; a plan that cannot be evaluated is a failure, not the end of the search."""
    try:
        evaluation = task.evaluate(plan)
    except EvaluationError as error:
        return Proposal(plan, failure=str(error))
    if not math.isfinite(evaluation.score):
        return Proposal(plan, failure=f"the validation loss is {evaluation.score}")
    return Proposal(plan, evaluation.score, dict(evaluation.measures))


searchers: Registry[SearcherBase] = Registry("rank_search.searchers", "searcher", lambda: SearcherBase)

S = TypeVar("S", bound=type[SearcherBase])


def register_searcher(name: str) -> Callable[[S], S]:
    """Class decorator that registers a searcher in this process.

    A class of the same name and module takes the place of its earlier self, as when a notebook's cell runs again.

    Raises:
        PluginError: if the name is taken by another, or the class is not a searcher.
    """

    def add(cls: S) -> S:
        searchers.register(name, cls)
        return cls

    return add
