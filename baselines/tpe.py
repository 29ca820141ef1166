"""Bayesian search with Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from rank_search.errors import InvalidInputError
from rank_search.searching import AskTellSearcher, Trial
from rank_search.space import RankPlan
from rank_search.task import Oracles

REPEATS = 16  # asks in a row that only name known plans, before an unseen one is drawn instead


class TPE(AskTellSearcher):
    """TPE (Bergstra et al., NeurIPS 2011; Optuna's multivariate sampler) over the space's coordinates.

    Every ask is projected onto the budget before it is evaluated, and the point that was asked is told the projected
    plan's score: the search sees ``score(project(x))``, which is defined everywhere. A plan met before is answered from
    what is known. The sampler is made anew for each ask from the seed and the number of trials, so that a search
    restored from its trials goes on exactly as it would have.

    Args:
        startup: random asks before the first model.
        warm_start: ``"knapsack"`` evaluates the data-free optimum first (an arm of its own in a comparison).
    """

    def __init__(self, task: Oracles, *, seed: int, startup: int = 10, warm_start: str | None = None) -> None:
        super().__init__(task, seed=seed)
        if startup < 1 or warm_start not in (None, "knapsack"):
            raise InvalidInputError(
                f"startup={startup} must be at least 1 and warm_start={warm_start!r} null or 'knapsack'"
            )
        self._startup, self._warm_start = startup, warm_start
        self._distributions = _distributions(task)
        self._told: list[tuple[dict[str, Any], float | None]] = []
        self._asked: dict[RankPlan, dict[str, Any]] = {}
        self._study = self._new_study()

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        space, budget = self.task.space, self.task.budget
        under_way = {trial.plan for trial in pending}
        if self._warm_start and not self._told and not pending:
            plan = space.plan(space.minimise(self.task.relative_errors(), budget).indices)
            self._asked[plan] = self._params(plan)
            return plan
        for attempt in range(REPEATS):
            params = self._asked_of_model(pending, attempt)
            plan = space.project(space.decode(self._vector(params)), budget)
            if plan not in self.trials and plan not in under_way:
                self._asked[plan] = params
                return plan
            if plan in self.trials:
                self._record(params, self.trials[plan].score)
        numbers = [self.seed, len(self._told), *([len(pending)] if pending else [])]
        unseen = self.unseen(np.random.default_rng(numbers), pending)
        if unseen is not None:
            self._asked[unseen] = self._params(unseen)
        return unseen

    def tell(self, trial: Trial) -> None:
        self._record(self._asked.pop(trial.plan), trial.score)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "told": [[params, score] for params, score in self._told],
            "asked": [[plan.to_dict(), params] for plan, params in self._asked.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._study, self._told = self._new_study(), []
        self._asked = {RankPlan.from_json(plan): params for plan, params in state["asked"]}
        for params, score in state["told"]:
            self._record(params, score)

    def _asked_of_model(self, pending: Sequence[Trial], attempt: int) -> dict[str, Any]:
        """The point that the model suggests; those under way count as failures of the worst score (constant liar)."""
        if not pending:
            self._study.sampler = self._sampler()
            return self._study.ask(self._distributions).params
        study = optuna.create_study(direction="minimize", sampler=self._sampler(len(pending), attempt))
        study.add_trials(self._study.get_trials(deepcopy=False))
        lie = max((score for _, score in self._told if score is not None), default=None)
        study.add_trials([self._frozen(self._asked[trial.plan], lie) for trial in pending if trial.plan in self._asked])
        return study.ask(self._distributions).params

    def _record(self, params: dict[str, Any], score: float | None) -> None:
        self._told.append((params, score))
        self._study.add_trial(self._frozen(params, score))

    def _frozen(self, params: dict[str, Any], score: float | None) -> optuna.trial.FrozenTrial:
        return optuna.trial.create_trial(
            params=params,
            distributions=self._distributions,
            value=score,
            state=TrialState.FAIL if score is None else TrialState.COMPLETE,
        )

    def _new_study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(direction="minimize", sampler=self._sampler())

    def _sampler(self, *more: int) -> optuna.samplers.TPESampler:
        seed = int(np.random.SeedSequence([self.seed, len(self._told), *more]).generate_state(1)[0])
        return optuna.samplers.TPESampler(
            n_startup_trials=self._startup,
            n_ei_candidates=24,
            multivariate=True,
            group=False,
            constant_liar=False,
            seed=seed,
        )

    def _vector(self, params: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Optuna's parameters as an encoded plan: a form's position becomes the middle of its bin."""
        values = []
        for name, distribution in self._distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                forms = list(distribution.choices)
                values.append((forms.index(params[name]) + 0.5) / len(forms))
            else:
                values.append(params[name])
        return np.array(values)

    def _params(self, plan: RankPlan) -> dict[str, Any]:
        """A plan as Optuna's parameters."""
        params: dict[str, Any] = {}
        for (name, distribution), value in zip(
            self._distributions.items(), self.task.space.encode(plan).tolist(), strict=True
        ):
            if isinstance(distribution, CategoricalDistribution):
                params[name] = distribution.choices[int(value * len(distribution.choices))]
            else:
                params[name] = value
        return params


def _distributions(task: Oracles) -> dict[str, BaseDistribution]:
    """One distribution per coordinate of ``space.encode``, in its order."""
    distributions: dict[str, BaseDistribution] = {}
    for options in task.space.layers:
        name = options.layer.name
        if len(options.forms) > 1:
            distributions[f"{name}/form"] = CategoricalDistribution([form.name for form in options.forms])
        for mode in range(options.width):
            distributions[f"{name}/{mode}"] = FloatDistribution(0.0, 1.0)
    return distributions
