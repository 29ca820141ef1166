"""Who does the work of evaluations: builds networks, trains them, judges them. In this process, or elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from rank_search.errors import EvaluationError
from rank_search.space import RankPlan
from rank_search.task.evaluation import Evaluation
from rank_search.task.task import Task
from rank_search.task.training import Training

Outcome = Evaluation | EvaluationError


@dataclass(frozen=True)
class Job:
    """Args:
    number: of the trial.
    plan: within the budget.
    epochs: of the common fine-tune, counted from its beginning, after which the network is judged; None judges it as
        the repair leaves it, without training.
    """

    number: int
    plan: RankPlan
    epochs: int | None = None


class Workers(ABC):
    """Does jobs. What they cost was charged before; nothing here depends on how many workers there are.

    Attributes:
        on_outcome: called when a job is over, maybe long before its outcome is asked for.
    """

    on_outcome: Callable[[Job, Outcome], None] = staticmethod(lambda job, outcome: None)

    def serve(self, task: Task) -> None:
        """Hears for which search it works, before the first job.

        Args:
            task: whose meter hears of CPU seconds that other processes spend.
        """
        return None

    @abstractmethod
    def start(self, job: Job) -> None:
        """Lets a job begin, when there is room; once is enough."""

    @abstractmethod
    def outcome(self, job: Job) -> Outcome:
        """What a job has found, when it is over."""

    @abstractmethod
    def network(self, job: Job) -> nn.Module:
        """The network of a job with epochs, as these have left it."""

    @abstractmethod
    def forget(self, number: int) -> None:
        """Drops the network of a trial, and what of its jobs has not begun."""


class TaskWorker:
    """Does the jobs of one process.

    Args:
        task: whose networks are built; nothing is charged to it.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._own = task.under(task.budget, task.seed)  # its meter is nobody's
        self._trainings: dict[int, Training] = {}

    def do(self, job: Job) -> Outcome:
        """The outcome of a job."""
        try:
            return self._task.judge(job.plan) if job.epochs is None else self._task.score(self.network(job))
        except EvaluationError as error:
            return error

    def network(self, job: Job) -> nn.Module:
        """The network of a job with epochs; trained anew where it is lost, or was trained too far.

        Raises:
            EvaluationError
        """
        assert job.epochs is not None
        with self._task.meter.inside():
            training = self._trainings.get(job.number)
            if training is None or training.epochs > job.epochs:
                training = self._own.training(job.plan)
                self._trainings[job.number] = training
            training.run(job.epochs - training.epochs)
        return training.model

    def forget(self, number: int) -> None:
        """Drops the network of a trial."""
        self._trainings.pop(number, None)


class InProcess(Workers):
    """One job after another in this process, when its outcome is asked for.

    Args:
        task: whose networks are built.
    """

    def __init__(self, task: Task) -> None:
        self._worker = TaskWorker(task)

    def start(self, job: Job) -> None:
        pass

    def outcome(self, job: Job) -> Outcome:
        return self._worker.do(job)

    def network(self, job: Job) -> nn.Module:
        return self._worker.network(job)

    def forget(self, number: int) -> None:
        self._worker.forget(number)
