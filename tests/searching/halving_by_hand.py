"""Searches with multi-fidelity, written a second time: each plan trained by hand, each decision by its definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tiny_task import SHORT, TRAIN, VALIDATION, TinyNet, tiny_net, tiny_task
from torch import Tensor, nn

from rank_search.searching import Trial
from rank_search.space import DENSE, Budget, RankPlan
from rank_search.task import Limits, Recipe, Task
from rank_search.task.meter import COUNTS

BUDGET = Budget(macs=0.7)
RECIPE = Recipe(epochs=4, lr=0.3, batch_size=TRAIN, warmup=0.3, distill_weight=SHORT.distill_weight)
RECALIBRATION = 20
BY_METER = ("evaluations", "samples_forward", "samples_trained", "decompositions")


class Dropping(TinyNet):
    """The tiny network, which draws from the global generator in training."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.1)
        self.load_state_dict(tiny_net().state_dict())

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.dropout(images))


def trained_task(recipe: Recipe = RECIPE) -> Task:
    return tiny_task(BUDGET, net=Dropping(), recipe=recipe, seed=2, recalibration_samples=RECALIBRATION)


@dataclass
class ByHand:
    """The scores of every plan at every rung.

    Args:
        task: whose plans are trained.
        rungs: in epochs.
    """

    task: Task
    rungs: tuple[int, ...]
    known: dict[RankPlan, list[float]] = field(default_factory=dict)

    def scores(self, plan: RankPlan) -> list[float]:
        if plan not in self.known:
            own = self.task.under(BUDGET)
            training = own.training(plan)
            found = []
            for epochs in self.rungs:
                while training.epochs < epochs:
                    training.run()
                found.append(own.score(training.model).score)
            self.known[plan] = found
        return self.known[plan]

    def network(self, plan: RankPlan, epochs: int) -> nn.Module:
        training = self.task.under(BUDGET).training(plan)
        training.run(epochs)
        return training.model


@dataclass
class Expected:
    """What a search with multi-fidelity must say.

    Attributes:
        trials: score, epochs, and the counts after it, of each.
        ended: why.
    """

    trials: list[tuple[float, int | None, dict[str, int]]] = field(default_factory=list)
    ended: str = "done"


class Replay:
    """One search over plans in the order of asking.

    Args:
        hand: what they score.
        scheduler, eta: of the fidelity.
        parallel: of the search.
        limits: of the search: evaluations and samples_trained.
    """

    def __init__(self, hand: ByHand, scheduler: str, eta: int, parallel: int, limits: Limits) -> None:
        self.hand, self.scheduler, self.eta, self.parallel, self.limits = hand, scheduler, eta, parallel, limits
        self.counts = dict.fromkeys(BY_METER, 0)
        self.used: set[tuple[str, str]] = set()
        self.at_rung: list[list[float]] = [[] for _ in hand.rungs]
        self.decided: dict[int, tuple[float, int | None]] = {}

    def of(self, asked: Sequence[RankPlan]) -> Expected:
        found, flight, next_one = Expected(), list[int](), 0
        ended = None
        while True:
            while ended is None and len(flight) < self.parallel:
                ended = self.exhausted()
                if ended is not None:
                    break
                if next_one < len(asked) and asked[next_one] in asked[:next_one]:
                    self.decided[next_one] = (0.0, None)
                elif not self.room(self.hand.rungs[0]):
                    ended = f"samples_trained would pass the limit of {self.limits.samples_trained}"
                    break
                elif next_one == len(asked):
                    break
                else:
                    self.submit(asked[next_one])
                flight.append(next_one)
                next_one += 1
            if not flight:
                found.ended = ended or "done"
                return found
            first = flight.pop(0)
            if first not in self.decided:
                self.decide([first, *[other for other in flight if other not in self.decided]], asked)
            score, epochs = self.decided[first]
            if epochs is None:
                score = found.trials[list(asked).index(asked[first])][0]
            found.trials.append((score, epochs, dict(self.counts)))

    def exhausted(self) -> str | None:
        for name in ("evaluations", "samples_trained"):
            limit = getattr(self.limits, name)
            if limit is not None and self.counts[name] >= limit:
                return name
        return None

    def room(self, epochs: int) -> bool:
        limit = self.limits.samples_trained
        return limit is None or self.counts["samples_trained"] + epochs * TRAIN <= limit

    def submit(self, plan: RankPlan) -> None:
        changed = {(name, choice.form) for name, choice in plan.items() if choice != DENSE}
        self.used |= changed
        self.counts["evaluations"] += 1
        self.counts["samples_forward"] += VALIDATION + (2 * RECALIBRATION if changed else 0)
        self.counts["samples_trained"] += self.hand.rungs[0] * TRAIN
        self.counts["decompositions"] = len(self.used)

    def climb(self, rung: int) -> bool:
        """Charges a rung above the first; False without room."""
        if rung == 0:
            return True
        epochs = self.hand.rungs[rung] - self.hand.rungs[rung - 1]
        if not self.room(epochs):
            return False
        self.counts["samples_trained"] += epochs * TRAIN
        self.counts["samples_forward"] += VALIDATION
        return True

    def decide(self, together: list[int], asked: Sequence[RankPlan]) -> None:
        scores = {number: self.hand.scores(asked[number]) for number in together}
        if self.scheduler == "asha":
            number = together[0]
            for rung, score in enumerate(scores[number]):
                if not self.climb(rung):
                    break
                self.decided[number] = (score, self.hand.rungs[rung])
                earlier = self.at_rung[rung]
                limit = float(np.percentile(earlier, 100 / self.eta)) if earlier else np.inf
                earlier.append(score)
                if score > limit:
                    break
            return
        left = together
        for rung in range(len(self.hand.rungs)):
            left = [number for number in left if self.climb(rung)]
            for number in left:
                self.decided[number] = (scores[number][rung], self.hand.rungs[rung])
            best = sorted(left, key=lambda number: (scores[number][rung], number))
            left = sorted(best[: max(1, len(left) // self.eta)])


def facts(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """All that is recorded of trials but seconds."""
    return [{**trial.to_dict(), "meter": {name: trial.meter[name] for name in COUNTS}} for trial in trials]


def bits(net: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}
