"""How the plans of a search are evaluated: charged in the order of asking, worked on by whoever does the work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import nn

from rank_search.searching.trial import Trial
from rank_search.searching.workers import InProcess, Job, Workers
from rank_search.space import RankPlan
from rank_search.task.task import Task


class Evaluator(ABC):
    """Takes trials and gives them back with their outcomes, in the order in which they were submitted."""

    @abstractmethod
    def submit(self, trial: Trial, charge: bool = True) -> None:
        """Starts the evaluation of a pending trial.

        Args:
            trial: its plan is within the budget.
            charge: False for one that was charged before a resume.

        Raises:
            LimitReached: if it would pass a limit; nothing is started and nothing charged then.
        """

    @abstractmethod
    def next(self) -> Trial:
        """The trial that was submitted first of those not given back yet, ``done`` or ``failed``."""

    def trained(self, plan: RankPlan) -> nn.Module | None:
        """The network of a plan, where evaluating has trained it and it is still there."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What later outcomes depend on: plain JSON values, arrays and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state; trials in flight are submitted again."""
        return None


class Evaluations(Evaluator):
    """Every plan is judged as the task's evaluation has it, without training.

    Args:
        task: whose meter is charged.
        workers: who does the work; this process unless told.
    """

    def __init__(self, task: Task, workers: Workers | None = None) -> None:
        self._task, self._workers = task, workers or InProcess(task)
        self._workers.serve(task)
        self._waiting: deque[Trial] = deque()

    def submit(self, trial: Trial, charge: bool = True) -> None:
        if charge:
            self._task.charge_evaluation(trial.plan)
        self._workers.start(Job(trial.number, trial.plan))
        self._waiting.append(trial)

    def next(self) -> Trial:
        trial = self._waiting.popleft()
        return trial.told(self._workers.outcome(Job(trial.number, trial.plan)))
