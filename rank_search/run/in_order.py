"""Driving an ask-and-tell searcher whose plans somebody else evaluates, in any order: it is told in the order asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rank_search.errors import EvaluationError, LimitReached, RankSearchError, SearcherError
from rank_search.searching.guarded_call import guarded_call
from rank_search.searching.loop import IDLE_STEPS
from rank_search.searching.searcher import AskTellSearcher
from rank_search.searching.trial import Trial
from rank_search.searching.workers import Outcome
from rank_search.space import RankPlan
from rank_search.task import Evaluation, Task

REPEATS = 16  # plans that were asked for before, and wait behind one that is not known yet
logger = logging.getLogger(__name__)


class InOrder:
    """Plans for evaluations that have names, each within the budget and none twice.

    Args:
        name: of the searcher, for messages.
        searcher: over the task; not asked yet.
        task: whose meter is charged an evaluation for each plan.

    Attributes:
        trials: all that the searcher was told, in order.
        ended: why there are no more plans; None while there are.
    """

    def __init__(self, name: str, searcher: AskTellSearcher, task: Task) -> None:
        self._name, self._searcher, self._task = name, searcher, task
        self.trials: list[Trial] = []
        self.ended: str | None = None
        self._flight: list[tuple[str | None, Trial]] = []  # in the order of asking
        self._lost: list[int] = []  # numbers of trials in flight that nobody evaluates any more
        self._ahead: dict[RankPlan, tuple[str, Outcome | None]] = {}  # evaluated before they were asked for
        self._waits, self._idle = False, 0
        self._broken: SearcherError | None = None

    def next(self, name: str) -> RankPlan | None:
        """The plan for an evaluation of that name; None for now, or for ever if :attr:`ended` is set.

        Raises:
            SearcherError: if the searcher raises, or proposes what is not allowed.
        """
        if self._broken is not None:
            raise self._broken
        if self._lost:
            place = self._place_of(self._lost.pop(0))
            self._flight[place] = (name, self._flight[place][1])
            return self._flight[place][1].plan
        while not self._over() and not self._waits and self._repeated() < REPEATS:
            plan = self._asked()
            if plan is not None and self._started(name, plan):
                return plan
            self._tell()
        return None

    def finish(self, name: str, outcome: Outcome) -> None:
        """Takes the outcome of an evaluation; one that is not known is ignored. Raises nothing."""
        for place, (known, trial) in enumerate(self._flight):
            if known == name and trial.state == "pending":
                self._flight[place] = (known, trial.told(outcome))
                self._tell()
                return
        for plan, (known, _) in self._ahead.items():
            if known == name:
                self._ahead[plan] = (known, outcome)
                return

    def reconcile(self, known: Mapping[str, tuple[RankPlan, Outcome | None]]) -> None:
        """Takes over what the evaluating side knows, which may have been put down at another moment.

        Args:
            known: by name, all its plans with their outcomes; None for what it evaluates or will.
        """
        for place, (name, trial) in enumerate(self._flight):
            if trial.state != "pending":
                continue
            if name is None or name not in known:
                self._lost = sorted({*self._lost, trial.number})
                continue
            outcome = known[name][1]
            if outcome is not None:
                self._flight[place] = (name, trial.told(outcome))
        mine = {trial.plan for trial in self.trials} | {trial.plan for _, trial in self._flight}
        self._ahead |= {plan: (name, outcome) for name, (plan, outcome) in known.items() if plan not in mine}
        self._tell()

    def state_dict(self) -> dict[str, Any]:
        """All that the next plans depend on: plain values, arrays and tensors.

        Raises:
            SearcherError: if the searcher raises.
        """
        return {
            "searcher": self._call(self._searcher.state_dict),
            "trials": [trial.to_dict() for trial in self.trials],
            "flight": [[name, trial.to_dict()] for name, trial in self._flight],
            "lost": self._lost,
            "ahead": [
                [name, (Trial(0, plan) if outcome is None else Trial(0, plan).told(outcome)).to_dict()]
                for plan, (name, outcome) in self._ahead.items()
            ],
            "ended": self.ended,
            "waits": self._waits,
            "idle": self._idle,
            "meter": self._task.meter.reading(),
            "used": self._task.used(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state, before anything was asked for."""
        self._task.meter.load(state["meter"])
        self._task.restore_used(state["used"])
        self._call(lambda: self._searcher.load_state_dict(state["searcher"]))
        self.trials = [Trial.from_dict(record) for record in state["trials"]]
        self._flight = [(name, Trial.from_dict(record)) for name, record in state["flight"]]
        self._lost, self.ended = list(state["lost"]), state["ended"]
        self._waits, self._idle = state["waits"], state["idle"]
        ahead = [(name, Trial.from_dict(record)) for name, record in state["ahead"]]
        self._ahead = {trial.plan: (name, _outcome_of(trial)) for name, trial in ahead}

    def _over(self) -> bool:
        if self.ended is None:
            stale = f"nothing new in {IDLE_STEPS} steps" if self._idle >= IDLE_STEPS else None
            self.ended = self._task.meter.exhausted() or stale
        return self.ended is not None

    def _asked(self) -> RankPlan | None:
        """What the searcher asks for; None where it waits or has come to its end."""
        try:
            plan = self._call(lambda: self._searcher.ask(tuple(trial for _, trial in self._flight)))
        except LimitReached as limit:
            self.ended = str(limit)
            return None
        if isinstance(plan, RankPlan):
            return plan
        if plan is not None:
            raise SearcherError(f"{self._name} proposed a {type(plan).__name__}, not a RankPlan")
        if self._flight:
            self._waits = True
        else:
            self.ended = self._searcher.gave_up or "done"
        return None

    def _repeated(self) -> int:
        """Plans in flight that were asked for before and cannot be answered yet."""
        return sum(trial.state == "cached" for _, trial in self._flight)

    def _started(self, name: str, plan: RankPlan) -> bool:
        """Puts the plan in flight; whether it is to be evaluated, as nothing is known of it."""
        try:
            cost = self._task.admit(plan)
        except RankSearchError as error:
            raise SearcherError(f"{self._name} proposed a plan that is not allowed: {error}") from error
        trial = Trial(len(self.trials) + len(self._flight) + 1, plan, cost=cost)
        if plan in self._searcher.trials or any(plan == other.plan for _, other in self._flight):
            self._idle += 1
            self._flight.append((None, replace(trial, state="cached")))
            return False
        try:
            self._task.meter.charge(evaluations=1)
        except LimitReached as limit:
            self.ended = str(limit)
            return False
        self._idle = 0
        ahead = self._ahead.pop(plan, None)
        if ahead is None:
            self._flight.append((name, trial))
            return True
        self._flight.append((ahead[0], trial if ahead[1] is None else trial.told(ahead[1])))
        return False

    def _tell(self) -> None:
        """Tells what has come to its end, up to the first that has not."""
        while self._flight and self._flight[0][1].state != "pending" and self._broken is None:
            trial = self._flight.pop(0)[1]
            if trial.state == "cached":
                known = self._searcher.trials[trial.plan]
                trial = replace(trial, score=known.score, measures=known.measures, failure=known.failure)
            self._waits = False
            self.trials.append(trial)
            try:
                self._call(lambda: self._searcher.hear(self.trials[-1]))
            except LimitReached as limit:
                self.ended = str(limit)
            except SearcherError as error:
                logger.error("%s", error)
                self._broken = error

    def _call(self, call: Callable[[], Any]) -> Any:
        return guarded_call(self._name, call, (LimitReached, SearcherError))

    def _place_of(self, number: int) -> int:
        return next(place for place, (_, trial) in enumerate(self._flight) if trial.number == number)


def _outcome_of(trial: Trial) -> Outcome | None:
    if trial.state == "pending":
        return None
    if trial.score is None:
        return EvaluationError(trial.failure or "it failed")
    return Evaluation(trial.score, dict(trial.measures), 1)
