"""Where the plans of a search are evaluated; only the evaluator holds the data and the network that is changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

from rank_search.errors import EvaluationError
from rank_search.searching.trial import Trial
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


class InProcess(Evaluator):
    """One evaluation after another in this process.

    Args:
        task: whose meter is charged.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._waiting: deque[Trial] = deque()

    def submit(self, trial: Trial, charge: bool = True) -> None:
        if charge:
            self._task.charge_evaluation(trial.plan)
        self._waiting.append(trial)

    def next(self) -> Trial:
        trial = self._waiting.popleft()
        try:
            return trial.told(self._task.judge(trial.plan))
        except EvaluationError as error:
            return trial.told(error)
