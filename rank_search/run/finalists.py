"""The last step of a cell: the best plans of its search are fine-tuned, and the best network is the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from rank_search.searching import SearchResult
from rank_search.space import RankPlan, plan_of
from rank_search.task import Evaluation, Task
from rank_search.task.repair.mender import Mended


@dataclass(frozen=True)
class Finalist:
    """Args:
    plan: of the network.
    score: that the search gave it.
    before, after: measures on the whole validation set before and after the fine-tune.
    network: after it.
    mended: what the refit made of each layer.
    refused: measures after a fine-tune that made the network worse and was not kept; ``after`` is ``before`` then.
    """

    plan: RankPlan
    score: float | None
    before: Evaluation
    after: Evaluation
    network: nn.Module
    mended: Mapping[str, Mended] = field(default_factory=dict)
    refused: Evaluation | None = None

    def or_before(self, start: nn.Module) -> Finalist:
        """This one, or the network before the fine-tune if its validation loss was lower."""
        if self.after.score <= self.before.score:
            return self
        return replace(self, after=self.before, network=start, refused=self.after)


def finetune_best(
    task: Task,
    result: SearchResult,
    top_k: int,
    epochs: int,
    file: Path,
    kept: Callable[[], None],
    keeps_better: bool = False,
) -> Finalist:
    """Fine-tunes the best plans of a search; the answer has the lowest validation loss after it.

    Args:
        task: charged with all of it.
        result: of the search; what it has trained is where the fine-tunes begin.
        top_k: how many plans.
        epochs: of each.
        file: of the first one's checkpoint; the others are beside it.
        kept: called when a checkpoint is written.
        keeps_better: whether a network that the fine-tune made worse is taken as it was before.

    Raises:
        OverBudgetError, DataError, EvaluationError, StorageError
    """
    best: Finalist | None = None
    for place, (plan, score) in enumerate(best_plans(result, top_k)):
        start = task.compress(plan, result.trained)
        mended, before = task.mended, task.validate(start)
        checkpoint = file if place == 0 else file.with_name(f"{file.name}.{place}")
        network = task.finetune(plan, epochs, start if len(plan_of(start)) else result.trained, checkpoint, kept)
        found = Finalist(plan, score, before, task.validate(network), network, mended)
        if keeps_better:
            found = found.or_before(start)
        if best is None or found.after.score < best.after.score:
            best = found
    assert best is not None
    return best


def best_plans(result: SearchResult, count: int) -> list[tuple[RankPlan, float | None]]:
    """The answer of a search, then the next best plans that it has scored, each with its score; no plan twice."""
    scored = [(trial.score, trial.number, trial.plan) for trial in result.trials if trial.score is not None]
    found: dict[RankPlan, float | None] = {result.plan: result.score}
    for score, _, plan in sorted(scored, key=lambda entry: entry[:2]):
        found.setdefault(plan, score)
    return list(found.items())[:count]
