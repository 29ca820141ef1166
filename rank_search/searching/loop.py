"""The one loop that drives every searcher: it checks and records each trial, checkpoints, stops at the limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from rank_search.errors import InvalidInputError, LimitReached, RankSearchError, SearcherError, StorageError
from rank_search.isolation import isolated
from rank_search.searching.evaluator import Evaluations, Evaluator
from rank_search.searching.guarded_call import guarded_call
from rank_search.searching.off_the_meter import off_the_meter
from rank_search.searching.plain import plain
from rank_search.searching.result import SearchResult
from rank_search.searching.searcher import AskTellSearcher, Proposal, Searcher, SearcherBase
from rank_search.searching.trial import State, Trial
from rank_search.searching.watchdog import TimeUp, Watchdog
from rank_search.space import RankPlan
from rank_search.states import load_state, save_state
from rank_search.task.meter import COUNTS
from rank_search.task.oracles import task_of
from rank_search.task.passes import unwatched

IDLE_STEPS = 1000  # trials in a row without a new evaluation or a better plan, after which a search is over


def run_search(
    searcher: SearcherBase,
    checkpoint: Path | None = None,
    callback: Callable[[Trial], None] = lambda trial: None,
    parallel: int = 1,
    evaluator: Evaluator | None = None,
) -> SearchResult:
    """Runs a search to its end, or on from its checkpoint.

    Args:
        searcher: over a task whose meter carries the limits.
        checkpoint: file to go on from if it exists, rewritten after every trial.
        callback: called with every recorded trial.
        parallel: trials of an ask-and-tell searcher in flight at once; part of the search, as they are asked for before
            the earlier ones are told. Where they are evaluated changes nothing.
        evaluator: how, and where; each plan is judged in this process unless told.

    What the searcher does to the state of the process ends with the search (see :func:`isolated`).

    Raises:
        SearcherError: if the searcher raises, returns a score that is not finite, goes over the budget, or ends
            without a plan.
    """
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
        raise InvalidInputError(f"parallel={parallel!r} is not allowed: it is a whole number, at least 1")
    with isolated(searcher.seed):
        run = _Run(searcher, checkpoint, callback, evaluator)
        with run.watchdog.watching():
            run.resume()
            if isinstance(searcher, AskTellSearcher):
                run.ask_and_tell(searcher, parallel)
            elif isinstance(searcher, Searcher):
                run.steps(searcher)
            else:
                raise SearcherError(f"{_name(searcher)} is neither a Searcher nor an AskTellSearcher")
            return run.result()


class _Run:
    """One search under way."""

    def __init__(
        self,
        searcher: SearcherBase,
        checkpoint: Path | None,
        callback: Callable[[Trial], None],
        evaluator: Evaluator | None,
    ) -> None:
        self._searcher, self._task = searcher, task_of(searcher.task)
        self.watchdog = Watchdog(self._task.meter)
        self._counted = self._counts()
        self._checkpoint, self._callback = checkpoint, callback
        self._evaluator = evaluator or Evaluations(self._task)
        self._trials: list[Trial] = []
        self._flight: list[Trial] = []
        self._idle = 0
        self._ended: str | None = None

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one; what was in flight is evaluated again."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        state = load_state(self._checkpoint)
        self._idle = int(state["idle"])
        self._trials = [Trial.from_dict(record) for record in state["trials"]]
        self._task.meter.load(state["meter"])
        self._task.restore_used(state["used"])
        self._counted = self._counts()
        _guarded(self._searcher, lambda: self._searcher.load_state_dict(state["searcher"]))
        self._evaluator.load_state_dict(state["evaluator"])
        for record in state["flight"]:
            trial = Trial.from_dict(record)
            if trial.state == "pending":
                self._evaluator.submit(trial, charge=False)
            self._flight.append(trial)

    def steps(self, searcher: Searcher) -> None:
        """Drives a method step by step."""
        while self._ended is None:
            try:
                if self._call(lambda: searcher.done):
                    self._ended = searcher.gave_up or "done"
                    return
                if self._over():
                    return
                proposal = self._call(searcher.step)
            except LimitReached as limit:
                self._ended = str(limit)
                return
            except TimeUp:
                self._ended = self._time_up()
                return
            if not isinstance(proposal, Proposal):
                raise SearcherError(f"{_name(searcher)}.step() returned {type(proposal).__name__}, not a Proposal")
            if proposal.plan is None:
                self._idle = 0 if self._worked() else self._idle + 1
            else:
                self._record(self._proposed(proposal))

    def ask_and_tell(self, searcher: AskTellSearcher, parallel: int) -> None:
        """Keeps so many trials in flight and tells them in the order of asking."""
        while True:
            while self._ended is None and len(self._flight) < parallel and not self._over():
                try:
                    plan = self._call(lambda: searcher.ask(tuple(self._flight)))
                except LimitReached as limit:
                    self._ended = str(limit)
                    break
                except TimeUp:
                    self._ended = self._time_up()
                    break
                if plan is None:
                    if not self._flight:
                        self._ended = searcher.gave_up or "done"
                    break
                self._start(searcher, plan)
            if not self._flight:
                return
            self._finish(searcher)

    def result(self) -> SearchResult:
        """The answer.

        Raises:
            SearcherError: if there is none.
        """
        ended = self._ended or "done"
        best = incumbent(self._trials)
        if best is None:
            raise SearcherError(f"{_name(self._searcher)} found no plan ({_why_none(self._trials, ended)})")
        return SearchResult(
            best.plan,
            self._task.admit(best.plan),
            best.score,
            best.info.get("lower_bound"),
            self._task.meter.reading(),
            tuple(self._trials),
            ended,
            self._searcher.gave_up,
            self._trained(best.plan),
            tuple(self._remarks()),
        )

    def _trained(self, plan: RankPlan) -> nn.Module | None:
        """The network that was trained for the answer: by the evaluator, or by the searcher."""
        trained = self._evaluator.trained(plan) or _guarded(self._searcher, self._searcher.trained)
        return None if trained is None else unwatched(trained)

    def _call(self, call: Callable[[], Any]) -> Any:
        """Runs a part of a step, which can be interrupted; what comes after a step (a checkpoint, say) is not."""
        with self.watchdog.step():
            return _guarded(self._searcher, call)

    def _time_up(self) -> str:
        return next((n for n in ("wall_seconds", "cpu_seconds") if self._task.meter.passed(n)), "wall_seconds")

    def _worked(self) -> bool:
        """Whether anything was counted since the last time that this was asked."""
        before, self._counted = self._counted, self._counts()
        return before != self._counted

    def _counts(self) -> dict[str, float | int]:
        reading = self._task.meter.reading()
        return {name: reading[name] for name in COUNTS}

    def _remarks(self) -> Iterator[str]:
        if self._task.space.not_counted:
            yield f"not counted: {', '.join(self._task.space.not_counted)}"
        yield from off_the_meter(self._task)

    def _over(self) -> bool:
        """Whether a limit is reached, or nothing new comes."""
        stale = f"nothing new in {IDLE_STEPS} steps" if self._idle >= IDLE_STEPS else None
        self._ended = self._task.meter.exhausted() or stale
        return self._ended is not None

    def _start(self, searcher: AskTellSearcher, plan: Any) -> None:
        """Sends a plan off, unless its outcome is known or under way."""
        number = len(self._trials) + len(self._flight) + 1
        trial = Trial(number, plan, cost=self._admitted(plan, number))
        known = plan in searcher.trials or any(plan == other.plan for other in self._flight)
        if known:
            trial = replace(trial, state="cached")
        else:
            try:
                self._evaluator.submit(trial)
            except LimitReached as limit:
                self._ended = str(limit)
                return
        self._flight.append(trial)

    def _finish(self, searcher: AskTellSearcher) -> None:
        """Takes the first trial in flight to its end."""
        trial = self._flight[0]
        if trial.state == "cached":
            known = searcher.trials[trial.plan]
            trial = replace(trial, score=known.score, measures=known.measures, failure=known.failure)
        else:
            try:
                with self.watchdog.step():
                    told = self._evaluator.next()
            except TimeUp:
                self._ended, self._flight = self._time_up(), []
                return
            found = {name: getattr(told, name) for name in ("state", "score", "measures", "failure", "info")}
            trial = replace(trial, **found)
            if trial.score is not None and not math.isfinite(trial.score):
                trial = replace(trial, state="failed", score=None, failure=f"the validation loss is {trial.score}")
        del self._flight[0]
        try:
            self._call(lambda: searcher.hear(trial))
        except LimitReached as limit:  # what was in flight is not told any more
            self._ended, self._flight = str(limit), []
            return
        except TimeUp:
            self._ended, self._flight = self._time_up(), []
            return
        self._record(trial)

    def _proposed(self, proposal: Proposal) -> Trial:
        """A proposal as a trial, checked."""
        number = len(self._trials) + 1
        cost = self._admitted(proposal.plan, number)
        assert proposal.plan is not None
        score = _number(self._searcher, "score", proposal.score, number)
        measures = {n: _number(self._searcher, f"measure {n}", v, number) for n, v in proposal.measures.items()}
        try:
            info = plain(dict(proposal.info))
        except TypeError as error:
            raise SearcherError(f"{_name(self._searcher)} returned in its info at step {number} {error}") from None
        _number(self._searcher, "lower_bound", info.get("lower_bound"), number)
        ended: State = "failed" if proposal.failure is not None else "done"
        state: State = "cached" if proposal.cached else ended
        return Trial(
            number,
            proposal.plan,
            state,
            score,
            {name: value for name, value in measures.items() if value is not None},
            cost,
            None if proposal.failure is None else str(proposal.failure),
            info,
        )

    def _admitted(self, plan: Any, number: int) -> dict[str, int]:
        if not isinstance(plan, RankPlan):
            kind = type(plan).__name__
            raise SearcherError(f"{_name(self._searcher)} proposed a {kind} at step {number}, not a RankPlan")
        try:
            return self._task.admit(plan)
        except RankSearchError as error:
            raise SearcherError(
                f"{_name(self._searcher)} proposed a plan that is not allowed, at step {number}: {error}"
            ) from error

    def _record(self, trial: Trial) -> None:
        before = self._trials[-1].incumbent if self._trials else None
        scores = [score for score in (before, trial.score) if score is not None]
        trial = replace(trial, incumbent=min(scores, default=None), meter=self._task.meter.reading())
        better = not self._trials or trial.incumbent != before
        worked = self._worked()
        self._idle = 0 if better or worked else self._idle + 1
        self._trials.append(trial)
        if self._checkpoint is not None:
            self._save(self._checkpoint)
        self._callback(trial)

    def _save(self, path: Path) -> None:
        state = {
            "trials": [trial.to_dict() for trial in self._trials],
            "flight": [trial.to_dict() for trial in self._flight],
            "idle": self._idle,
            "meter": self._task.meter.reading(),
            "used": self._task.used(),
            "searcher": _guarded(self._searcher, self._searcher.state_dict),
            "evaluator": self._evaluator.state_dict(),
        }
        _guarded(self._searcher, lambda: save_state(path, state))


def incumbent(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the lowest score (the first of equals); without any score, the last that did not fail."""
    scored = [trial for trial in trials if trial.score is not None]
    if scored:
        return min(scored, key=lambda trial: trial.score or 0.0)
    return next((trial for trial in reversed(trials) if trial.failure is None), None)


def _number(searcher: SearcherBase, what: str, value: Any, step: int) -> float | None:
    """A value as a plain float, or None.

    Raises:
        SearcherError: if it is neither None nor a finite number.
    """
    if value is None:
        return None
    number = value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool | np.bool_) or not (isinstance(number, Real) and math.isfinite(number)):
        raise SearcherError(
            f"{_name(searcher)} returned the {what} {value!r} at step {step}: a {what} is a finite number or None"
        )
    return float(number)


def _guarded(searcher: SearcherBase, call: Callable[[], Any]) -> Any:
    """Runs the searcher's code; what it raises becomes one readable error, limits and full disks pass through."""
    return guarded_call(_name(searcher), call, (LimitReached, SearcherError, StorageError, TimeUp))


def _why_none(trials: Sequence[Trial], ended: str) -> str:
    failures = [trial.failure for trial in trials if trial.failure]
    if failures:
        return f"all {len(failures)} evaluations failed, the last: {failures[-1]}"
    return f"it proposed nothing; ended: {ended}"


def _name(searcher: SearcherBase) -> str:
    return type(searcher).__name__
