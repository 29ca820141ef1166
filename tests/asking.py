"""Driving a black-box searcher by hand, without the loop."""

from __future__ import annotations

from rank_search.errors import EvaluationError
from rank_search.searching import AskTellSearcher, Trial
from rank_search.task.oracles import task_of


def asked(searcher: AskTellSearcher, count: int) -> list[Trial]:
    """The next so many plans, each evaluated by the task and told before the next is asked for."""
    found = []
    for _ in range(count):
        plan = searcher.ask(())
        assert plan is not None
        trial = Trial(len(searcher.trials) + 1, plan)
        try:
            trial = trial.told(task_of(searcher.task).evaluate(plan))
        except EvaluationError as error:
            trial = trial.told(error)
        searcher.hear(trial)
        found.append(trial)
    return found
