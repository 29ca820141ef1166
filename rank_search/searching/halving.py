"""Evaluating with multi-fidelity: decided in the order of asking, so that the number of workers changes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from rank_search.errors import EvaluationError, LimitReached
from rank_search.searching.evaluator import Evaluator
from rank_search.searching.fidelity import ASHA, Fidelity, goes_on, survivors
from rank_search.searching.trial import Trial
from rank_search.searching.workers import InProcess, Job, Outcome, Workers
from rank_search.space import RankPlan
from rank_search.task.evaluation import Evaluation
from rank_search.task.task import Task


@dataclass
class _Climber:
    """A trial and how far it has come."""

    trial: Trial
    epochs: int = 0
    evaluation: Evaluation | None = None
    failure: EvaluationError | None = None

    @property
    def score(self) -> float:
        assert self.evaluation is not None
        return self.evaluation.score


class Halving(Evaluator):
    """Fine-tunes every plan from rung to rung.

    The first rung is charged when a trial is submitted, the others when they are decided; a trial for which a limit has
    no room any more ends at the rung that it has reached. Other workers may train ahead of what is decided.

    Args:
        task: whose meter is charged.
        fidelity: the rungs, and who goes on.
        workers: who does the work; this process unless told.
    """

    def __init__(self, task: Task, fidelity: Fidelity, workers: Workers | None = None) -> None:
        self._task, self._fidelity, self._workers = task, fidelity, workers or InProcess(task)
        self._workers.serve(task)
        self._rungs = fidelity.rungs(task.recipe.epochs)
        self._records: list[list[float]] = [[] for _ in self._rungs]
        self._waiting: deque[Trial] = deque()
        self._decided: dict[int, Trial] = {}
        self._best: tuple[float, RankPlan, dict[str, torch.Tensor]] | None = None
        if fidelity.scheduler == ASHA:
            self._workers.on_outcome = self._train_ahead

    def submit(self, trial: Trial, charge: bool = True) -> None:
        if charge:
            self._task.charge_evaluation(trial.plan, self._rungs[0])
        if trial.number not in self._decided:
            self._workers.start(Job(trial.number, trial.plan, self._rungs[0]))
        self._waiting.append(trial)

    def next(self) -> Trial:
        first = self._waiting[0].number
        if first not in self._decided:
            if self._fidelity.scheduler == ASHA:
                self._decide_one(self._waiting[0])
            else:
                self._decide_together([trial for trial in self._waiting if trial.number not in self._decided])
        self._waiting.popleft()
        return self._decided.pop(first)

    def trained(self, plan: RankPlan) -> nn.Module | None:
        if self._best is None or self._best[1] != plan:
            return None
        network = self._task.space.compress(self._task.model, plan).eval()
        network.load_state_dict(self._best[2])
        return network

    def state_dict(self) -> dict[str, Any]:
        best = None if self._best is None else [self._best[0], self._best[1].to_dict(), self._best[2]]
        decided = [trial.to_dict() for trial in self._decided.values()]
        return {"records": self._records, "decided": decided, "best": best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._records = [list(scores) for scores in state["records"]]
        self._decided = {trial.number: trial for trial in map(Trial.from_dict, state["decided"])}
        if state["best"] is not None:
            score, plan, network = state["best"]
            self._best = (score, RankPlan.from_json(plan), network)

    def _decide_one(self, trial: Trial) -> None:
        """ASHA: up to the rung from which it does not go on."""
        climber = _Climber(trial)
        for place in range(len(self._rungs)):
            if not self._climbed(climber, place):
                break
            before = self._records[place]
            on = goes_on(climber.score, before, self._fidelity.eta)
            before.append(climber.score)
            if not on:
                break
        self._end(climber)

    def _decide_together(self, trials: list[Trial]) -> None:
        """Successive halving of the trials in flight."""
        everyone = [_Climber(trial) for trial in trials]
        left = everyone
        for place in range(len(self._rungs)):
            allowed = [climber for climber in left if self._allowed(climber, place)]
            left = [climber for climber in allowed if self._climbed(climber, place, allowed=True)]
            if not left:
                break
            left = [left[i] for i in survivors([climber.score for climber in left], self._fidelity.eta)]
        for climber in everyone:
            self._end(climber)

    def _allowed(self, climber: _Climber, place: int) -> bool:
        """Whether the meter has room for this rung; if so, it is charged and the work may begin."""
        if place:
            try:
                self._task.charge_rung(self._rungs[place] - self._rungs[place - 1])
            except LimitReached:
                return False
        self._workers.start(self._job(climber.trial, place))
        return True

    def _climbed(self, climber: _Climber, place: int, allowed: bool = False) -> bool:
        """Brings a trial to a rung; False if the meter has no room for it, or its training failed."""
        if not allowed and not self._allowed(climber, place):
            return False
        outcome = self._workers.outcome(self._job(climber.trial, place))
        if isinstance(outcome, EvaluationError):
            climber.failure = outcome
            return False
        climber.evaluation, climber.epochs = outcome, self._rungs[place]
        return True

    def _end(self, climber: _Climber) -> None:
        """Notes what a trial is told, and keeps its network if none was better."""
        trial = climber.trial
        if climber.failure is not None:
            told = trial.told(climber.failure)
        else:
            assert climber.evaluation is not None
            told = trial.told(climber.evaluation)
            if self._best is None or climber.score < self._best[0]:
                network = self._workers.network(Job(trial.number, trial.plan, climber.epochs))
                state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
                self._best = (climber.score, trial.plan, state)
        self._decided[trial.number] = replace(told, info={"epochs": climber.epochs})
        self._workers.forget(trial.number)

    def _train_ahead(self, job: Job, outcome: Outcome) -> None:
        """Lets a trial's next rung begin before its turn, if it is likely to go on; charged is it in its turn."""
        assert job.epochs is not None
        place = self._rungs.index(job.epochs)
        likely = isinstance(outcome, Evaluation) and goes_on(outcome.score, self._records[place], self._fidelity.eta)
        if likely and place + 1 < len(self._rungs):
            self._workers.start(Job(job.number, job.plan, self._rungs[place + 1]))

    def _job(self, trial: Trial, place: int) -> Job:
        return Job(trial.number, trial.plan, self._rungs[place])
