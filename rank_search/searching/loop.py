"""The one loop that drives every searcher: it checks and records each proposal, checkpoints, stops at the limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

from torch import nn

from rank_search.errors import LimitReached, RankSearchError, SearcherError, StorageError
from rank_search.searching.checkpoint import load_state, save_state
from rank_search.searching.searcher import Proposal, Searcher
from rank_search.space import RankPlan
from rank_search.task.meter import Meter
from rank_search.task.task import Task

IDLE_STEPS = 1000  # steps in a row without a new evaluation or a better plan, after which a search is over


@dataclass(frozen=True)
class Step:
    """One recorded proposal: the meter's reading is taken after it.

    Args:
        number: from 1.
        proposal: what the searcher said; its plan is within the budget.
        cost: ``params`` and ``macs`` of the plan.
        incumbent_score: the best score so far.
        meter: all counts and seconds so far.
    """

    number: int
    proposal: Proposal
    cost: Mapping[str, int]
    incumbent_score: float | None
    meter: Mapping[str, float | int]


@dataclass(frozen=True)
class SearchResult:
    """The answer of a search.

    Args:
        plan: the best plan found, within the budget.
        cost: its ``params`` and ``macs``.
        score: its score (lower is better), None if the method has none.
        lower_bound: no plan within the budget has a lower score; None where the method has no such proof.
        meter: all counts and seconds that the search used.
        steps: every proposal.
        ended: why it ended: ``"done"``, the limit that was reached, or why the method gave up.
        gave_up: why the method gave up; None if it did not.
        trained: the dense network that a one-shot method has trained, for ``task.compress`` and ``task.finetune``; None
            where the plan is one of the task's own weights.
    """

    plan: RankPlan
    cost: Mapping[str, int]
    score: float | None
    lower_bound: float | None
    meter: Mapping[str, float | int]
    steps: tuple[Step, ...]
    ended: str
    gave_up: str | None = None
    trained: nn.Module | None = None


def run_search(
    searcher: Searcher,
    checkpoint: Path | None = None,
    after_step: Callable[[Step], None] = lambda step: None,
) -> SearchResult:
    """Runs a search to its end, or on from its checkpoint.

    Args:
        searcher: over a task whose meter carries the limits.
        checkpoint: file to go on from if it exists, rewritten after every step.
        after_step: called with every recorded step.

    Raises:
        SearcherError: if the searcher raises, returns a score that is not finite, goes over the budget, or ends
            without a plan.
    """
    task, meter = searcher.task, searcher.task.meter
    steps: list[Step] = []
    ended, idle = None, 0
    if checkpoint is not None and checkpoint.exists():
        state = load_state(checkpoint)
        idle = int(state["idle"])
        steps = [_step_from(record) for record in state["steps"]]
        meter.load(state["meter"])
        task.restore_used(state["used"])
        _guarded(searcher, lambda: searcher.load_state_dict(state["searcher"]))
    while ended is None:
        if _guarded(searcher, lambda: searcher.done):
            ended = searcher.gave_up or "done"
            break
        ended = meter.exhausted() or (f"nothing new in {IDLE_STEPS} steps" if idle >= IDLE_STEPS else None)
        if ended is not None:
            break
        try:
            proposal = _guarded(searcher, searcher.step)
        except LimitReached as limit:
            ended = str(limit)
            break
        if not isinstance(proposal, Proposal):
            raise SearcherError(f"{_name(searcher)}.step() returned {type(proposal).__name__}, not a Proposal")
        if proposal.plan is None:
            idle += 1
        else:
            step = _checked(searcher, task, proposal, steps, meter)
            better = not steps or step.incumbent_score != steps[-1].incumbent_score
            idle = 0 if better or not proposal.cached else idle + 1
            steps.append(step)
            if checkpoint is not None:
                _save(checkpoint, searcher, steps, idle)
            after_step(step)
    best = incumbent(steps)
    if best is None or best.proposal.plan is None:
        raise SearcherError(f"{_name(searcher)} found no plan ({_why_none(steps, ended or 'done')})")
    info = best.proposal.info
    return SearchResult(
        best.proposal.plan,
        task.admit(best.proposal.plan),
        best.proposal.score,
        info.get("lower_bound"),
        meter.reading(),
        tuple(steps),
        ended or "done",
        searcher.gave_up,
        _guarded(searcher, searcher.trained),
    )


def incumbent(steps: list[Step]) -> Step | None:
    """The step of the lowest score (the first of equals); without any score, the last that did not fail."""
    scored = [step for step in steps if step.proposal.score is not None]
    if scored:
        return min(scored, key=lambda step: step.proposal.score or 0.0)
    return next((step for step in reversed(steps) if step.proposal.failure is None), None)


def _checked(searcher: Searcher, task: Task, proposal: Proposal, steps: list[Step], meter: Meter) -> Step:
    number = len(steps) + 1
    if not isinstance(proposal.plan, RankPlan):
        kind = type(proposal.plan).__name__
        raise SearcherError(f"{_name(searcher)} proposed a {kind} at step {number}, not a RankPlan")
    try:
        cost = task.admit(proposal.plan)
    except RankSearchError as error:
        raise SearcherError(
            f"{_name(searcher)} proposed a plan that is not allowed, at step {number}: {error}"
        ) from error
    proposal = replace(
        proposal,
        score=_number(searcher, "score", proposal.score, number),
        accuracy=_number(searcher, "accuracy", proposal.accuracy, number),
    )
    _number(searcher, "lower_bound", proposal.info.get("lower_bound"), number)
    before = steps[-1].incumbent_score if steps else None
    scores = [score for score in (before, proposal.score) if score is not None]
    return Step(number, proposal, cost, min(scores, default=None), meter.reading())


def _number(searcher: Searcher, what: str, value: Any, step: int) -> float | None:
    """A value as a plain float, or None.

    Raises:
        SearcherError: if it is neither None nor a finite number.
    """
    if value is None:
        return None
    if not (isinstance(value, Real) and math.isfinite(value)):
        raise SearcherError(
            f"{_name(searcher)} returned the {what} {value!r} at step {step}: a {what} is a finite number or None"
        )
    return float(value)


def _guarded(searcher: Searcher, call: Callable[[], Any]) -> Any:
    """Runs the searcher's code; what it raises becomes one readable error, limits and full disks pass through."""
    try:
        return call()
    except (LimitReached, SearcherError, StorageError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SearcherError(f"{_name(searcher)} raised {type(error).__name__}: {reason}") from error


def _why_none(steps: list[Step], ended: str) -> str:
    failures = [step.proposal.failure for step in steps if step.proposal.failure]
    if failures:
        return f"all {len(failures)} evaluations failed, the last: {failures[-1]}"
    return f"it proposed nothing; ended: {ended}"


def _save(path: Path, searcher: Searcher, steps: list[Step], idle: int) -> None:
    task = searcher.task
    state = {
        "steps": [_record(step) for step in steps],
        "idle": idle,
        "meter": task.meter.reading(),
        "used": task.used(),
        "searcher": _guarded(searcher, searcher.state_dict),
    }
    _guarded(searcher, lambda: save_state(path, state))


def _record(step: Step) -> dict[str, Any]:
    plan = step.proposal.plan
    return {
        **asdict(replace(step, proposal=replace(step.proposal, plan=None))),
        "plan": None if plan is None else plan.to_dict(),
    }


def _step_from(record: Mapping[str, Any]) -> Step:
    plan = RankPlan.from_json(record["plan"])
    proposal = Proposal(**{**record["proposal"], "plan": plan})
    return Step(record["number"], proposal, record["cost"], record["incumbent_score"], record["meter"])


def _name(searcher: Searcher) -> str:
    return type(searcher).__name__
