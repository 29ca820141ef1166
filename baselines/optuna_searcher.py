"""Optuna's samplers as searchers: asked in coordinates, told what the plan there is worth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import optuna
from optuna.trial import TrialState

from rank_search.errors import InvalidInputError
from rank_search.searching import AskTellSearcher, Trial
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .coordinates import AllRanks, AroundKnapsack, Coordinates, Parameters

RANKS, REDUCED = "ranks", "reduced"
COORDINATES = {RANKS: AllRanks, REDUCED: AroundKnapsack}
GENERATION = ":generation"  # how samplers that breed call what a trial belongs to
DRAWS = 32  # points of the coordinates that are drawn before any unseen plan of the space is


@dataclass(frozen=True)
class Point:
    """Args:
    parameters: in the coordinates.
    attributes: what the sampler noted of it.
    """

    parameters: Parameters
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """Args:
    point: that was asked for.
    values: of the objectives; None if its plan failed.
    """

    point: Point
    values: tuple[float, ...] | None


class OptunaSearcher(AskTellSearcher):
    """A sampler that proposes points; the plan of a point is evaluated, and the point is told its score.

    A plan that is known is not told again, which would draw the model to it: the sampler is asked anew with another
    seed; after ``repeats`` such asks a point is drawn. All parameters are always there, so the sampler need not look
    for those that all trials share. The sampler is made anew for each ask from the seed and the number of trials, so
    that a search restored from its trials goes on exactly as it would have. Points whose plans are under way count as
    the worst score so far (constant liar).

    Args:
        coordinates: ``ranks`` for every form and rank of every layer, ``reduced`` for a few weights around the
            knapsack's plan.
        warm_start: ``knapsack`` evaluates the data-free optimum first.
        repeats: asks in a row that may only name known plans.

    Attributes:
        directions: of the objectives.
    """

    directions: ClassVar[tuple[Literal["minimize", "maximize"], ...]] = ("minimize",)

    def __init__(
        self, task: Oracles, *, seed: int, coordinates: str = RANKS, warm_start: str | None = None, repeats: int = 3
    ) -> None:
        super().__init__(task, seed=seed)
        if warm_start not in (None, "knapsack"):
            raise InvalidInputError(f"warm_start={warm_start!r} is not allowed: it is null or 'knapsack'")
        if coordinates not in COORDINATES:
            raise InvalidInputError(f"coordinates={coordinates!r} is not allowed: it is {' or '.join(COORDINATES)}")
        self._warm_start, self._repeats, self._coordinates_name = warm_start, repeats, coordinates
        self._made: Coordinates | None = None
        self._told: list[Told] = []
        self._asked: dict[RankPlan, Point | None] = {}
        self._study: optuna.Study | None = None

    @abstractmethod
    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """A fresh sampler of that seed."""

    @property
    def coordinates(self) -> Coordinates:
        """What is moved in; made when it is first needed, as it may decompose."""
        if self._made is None:
            self._made = COORDINATES[self._coordinates_name](self.task)
        return self._made

    def objectives(self, plan: RankPlan, score: float) -> tuple[float, ...]:
        """What the sampler minimises."""
        return (score,)

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        under_way = {trial.plan for trial in pending}
        if self._warm_start and not self._told and not pending:
            start = self.coordinates.knapsack()
            return self._noted(self.coordinates.plan(start), Point(start))
        for attempt in range(self._repeats):
            point = self._suggested(pending, attempt)
            plan = self.coordinates.plan(point.parameters)
            if plan not in self.trials and plan not in under_way:
                return self._noted(plan, point)
        rng = np.random.default_rng([self.seed, len(self._told), *([len(pending)] if pending else [])])
        for _ in range(DRAWS):
            drawn = self.coordinates.drawn(rng)
            plan = self.coordinates.plan(drawn)
            if plan not in self.trials and plan not in under_way:
                return self._noted(plan, Point(drawn))
        unseen = self.unseen(rng, pending)
        if unseen is None:
            return None
        parameters = self.coordinates.parameters(unseen)
        return self._noted(unseen, None if parameters is None else Point(parameters))

    def tell(self, trial: Trial) -> None:
        point = self._asked.pop(trial.plan)
        if point is not None:
            self._record(point, trial.plan, trial.score)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "told": [[*asdict(told.point).values(), told.values] for told in self._told],
            "asked": [
                [plan.to_dict(), None if point is None else list(asdict(point).values())]
                for plan, point in self._asked.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._study, self._told = None, []
        self._asked = {
            RankPlan.from_json(plan): None if point is None else Point(*point) for plan, point in state["asked"]
        }
        for *point, values in state["told"]:
            self._add(Told(Point(*point), None if values is None else tuple(values)))

    def _noted(self, plan: RankPlan, point: Point | None) -> RankPlan:
        self._asked[plan] = point
        return plan

    def _suggested(self, pending: Sequence[Trial], attempt: int) -> Point:
        """The point that the sampler suggests."""
        study = self._trials_so_far()
        if not pending:
            study.sampler = self._sampler_now(*([attempt] if attempt else []))
            return _asked(study, self.coordinates)
        aside = optuna.create_study(directions=self.directions, sampler=self._sampler_now(len(pending), attempt))
        aside.add_trials(study.get_trials(deepcopy=False))
        known = [told.values for told in self._told if told.values is not None]
        lie = tuple(map(max, zip(*known, strict=True))) if known else None
        points = [self._asked[trial.plan] for trial in pending if trial.plan in self._asked]
        aside.add_trials([self._frozen(Told(point, lie)) for point in points if point is not None])
        return _asked(aside, self.coordinates)

    def _record(self, point: Point, plan: RankPlan, score: float | None) -> None:
        self._add(Told(point, None if score is None else self.objectives(plan, score)))

    def _add(self, told: Told) -> None:
        self._told.append(told)
        self._trials_so_far().add_trial(self._frozen(told))

    def _trials_so_far(self) -> optuna.Study:
        if self._study is None:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self._study = optuna.create_study(directions=self.directions, sampler=self._sampler_now())
        return self._study

    def _sampler_now(self, *more: int) -> optuna.samplers.BaseSampler:
        sampler = self.sampler(int(np.random.SeedSequence([self.seed, len(self._told), *more]).generate_state(1)[0]))
        space = dict(sorted(self.coordinates.distributions.items()))
        sampler.infer_relative_search_space = lambda study, trial: space  # type: ignore[method-assign]
        return sampler

    def _frozen(self, told: Told) -> optuna.trial.FrozenTrial:
        return optuna.trial.create_trial(
            params=dict(told.point.parameters),
            distributions=self.coordinates.distributions,
            values=told.values,
            state=TrialState.FAIL if told.values is None else TrialState.COMPLETE,
            system_attrs=dict(told.point.attributes),
        )


def _asked(study: optuna.Study, coordinates: Coordinates) -> Point:
    trial = study.ask(coordinates.distributions)
    noted = study.get_trials(deepcopy=False)[trial.number].system_attrs
    return Point(trial.params, {key: value for key, value in noted.items() if key.endswith(GENERATION)})
