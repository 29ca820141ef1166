"""Somebody else's Ray Tune searcher, kept within a budget: its suggestions become plans, none twice."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher
from ray.tune.utils.util import flatten_dict

from rank_search.errors import EvaluationError, InvalidInputError
from rank_search.run.in_order import logger
from rank_search.run.tune_outcome import Outcomes
from rank_search.run.tune_record import tune_records
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.space.parameters import parameters_of, values_of
from rank_search.space.tune_space import PLAN, RANKS, ranks_of
from rank_search.space.unseen import nearest_unseen
from rank_search.states import load_state, save_state

REPEATS = 8  # suggestions in a row that may only name known plans
Key = tuple[RankPlan, str]


@dataclass
class _Given:
    """A trial under way.

    Args:
        key: its plan, and whatever else is tuned, as JSON.
        config: of the trial.
        names: by which the inner searcher knows the point; none of a plan that it did not name.
    """

    key: Key
    config: dict[str, Any]
    names: list[str] = field(default_factory=list)


class BudgetedSearch(Searcher):  # type: ignore[misc]
    """Adds a ``plan`` within the budget to every suggestion of a searcher over :meth:`RankSpace.tune_space`.

    ``Tuner(param_space=space.tune_space() | {...}, tune_config=TuneConfig(search_alg=BudgetedSearch(...)))``; the
    trainable reads ``RankPlan.from_json(config["plan"])``. A point is projected onto the budget. A plan that is known
    (with the same values of whatever else is tuned) is not tried again: the inner searcher is told what it was worth,
    one under way when it ends, and is asked anew. After eight such answers the nearest unseen plan is tried; when none
    is left the search ends. A trial without a finite metric has failed for the inner searcher, too.

    Args:
        inner: ``OptunaSearch``, ``HyperOptSearch`` or any other ``ray.tune.search.Searcher`` of one metric.
        space: whose plans are searched.
        budget: hard.

    Raises:
        InvalidInputError: if the inner one is no Searcher.
        InfeasibleBudgetError: if no plan meets the budget.
    """

    def __init__(self, inner: Searcher, space: RankSpace, budget: Budget) -> None:
        super().__init__()
        if not isinstance(inner, Searcher):
            raise InvalidInputError(f"a {type(inner).__name__} cannot be wrapped: give a ray.tune.search.Searcher")
        space.require_feasible(budget)
        self._inner, self._space, self._budget = inner, space, budget
        self._parameters = parameters_of(space.layers)
        self._known: dict[Key, float | None] = {}
        self._given: dict[str, _Given] = {}
        self._counts = [0, 0]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return bool(self._inner.set_search_properties(metric, mode, config, **spec))

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return bool(self._inner.set_max_concurrency(max_concurrent))

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The inner searcher's next configuration with a plan; None to wait; ``FINISHED``.

        Raises:
            PlanError: if a configuration has no ``ranks`` of this space.
            InvalidInputError: if no trial reports the metric.
        """
        self._outcomes().require_metric()
        for attempt in range(REPEATS):
            name = f"{trial_id}-{attempt}" if attempt else trial_id
            config = self._inner.suggest(name)
            if config is None or config == Searcher.FINISHED:
                return config  # type: ignore[no-any-return]
            key = self._key(config)
            if key in self._known:
                self._tell(name, self._known[key])
                continue
            under_way = next((given for given in self._given.values() if given.key == key), None)
            if under_way is None:
                return self._give(trial_id, key, config, [name])
            under_way.names.append(name)
        plan, others = key
        keys = [*self._known, *(given.key for given in self._given.values())]
        free = nearest_unseen(self._space, plan, self._budget, {taken for taken, rest in keys if rest == others})
        if free is None:
            return str(Searcher.FINISHED)
        ranks = ranks_of(self._parameters, values_of(self._parameters, self._space.encode(free)))
        return self._give(trial_id, (free, others), {**config, RANKS: ranks}, [])

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        given = self._given.get(trial_id)
        value = result.get(self._inner.metric)
        if given is not None and given.names and isinstance(value, int | float) and math.isfinite(value):
            self._guarded(self._inner.on_trial_result, given.names[0], dict(result))

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Takes what a trial reported last; raises nothing."""
        given = self._given.pop(trial_id, None)
        if given is None:
            return
        outcomes = self._outcomes()
        outcome = outcomes.read(result, error)
        self._counts = outcomes.counts()
        value = None if isinstance(outcome, EvaluationError) else outcome.score
        self._known[given.key] = value
        for name in given.names:
            self._tell(name, value, result)
        if not given.names and value is not None:
            point = {name: v for name, v in flatten_dict(given.config).items() if not name.startswith(f"{PLAN}/")}
            self._guarded(self._inner.add_evaluated_point, point, value)

    def save(self, checkpoint_path: str) -> None:
        """Writes the plans and, in the same file, what the inner searcher saves.

        Raises:
            NotImplementedError: if the inner searcher cannot be saved.
            StorageError
        """
        with tempfile.TemporaryDirectory() as folder:
            self._inner.save(str(Path(folder) / "inner"))
            inner = np.frombuffer((Path(folder) / "inner").read_bytes(), dtype=np.uint8)
        state = {
            "inner": inner,
            "budget": self._budget.to_dict(),
            "known": [[plan.to_dict(), rest, value] for (plan, rest), value in self._known.items()],
            "given": [
                [trial_id, given.key[0].to_dict(), given.key[1], json.dumps(given.config, default=_plain), given.names]
                for trial_id, given in self._given.items()
            ],
            "counts": self._counts,
        }
        save_state(Path(checkpoint_path), state)

    def restore(self, checkpoint_path: str) -> None:
        """Goes on from :meth:`save`, and from the snapshot of the experiment beside it if there is one."""
        state = load_state(Path(checkpoint_path))
        if state["budget"] != self._budget.to_dict():
            raise InvalidInputError(f"the saved state is of the budget {state['budget']}, this one is {self._budget}")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "inner").write_bytes(state["inner"].tobytes())
            self._inner.restore(str(Path(folder) / "inner"))
        self._known = {(RankPlan.from_json(plan), rest): value for plan, rest, value in state["known"]}
        self._given = {
            trial_id: _Given((RankPlan.from_json(plan), rest), json.loads(config), list(names))
            for trial_id, plan, rest, config, names in state["given"]
        }
        self._counts = list(state["counts"])
        records = tune_records(Path(checkpoint_path).parent)
        if records is None:
            return
        trials = {record.trial_id: record for record in records}
        for trial_id, given in list(self._given.items()):
            if trial_id not in trials:  # lost: its plan is free again
                del self._given[trial_id]
                for name in given.names:
                    self._tell(name, None)
            elif trials[trial_id].finished:
                self.on_trial_complete(trial_id, trials[trial_id].result, trials[trial_id].error)

    def __repr__(self) -> str:
        return f"BudgetedSearch({type(self._inner).__name__}, {self._space!r}, {self._budget!r})"

    def _give(self, trial_id: str, key: Key, config: dict[str, Any], names: list[str]) -> dict[str, Any]:
        config = {**config, PLAN: key[0].to_dict()}
        self._given[trial_id] = _Given(key, config, names)
        return config

    def _key(self, config: Mapping[str, Any]) -> Key:
        ranks = {RANKS: config[RANKS]} if RANKS in config else {}
        plan = self._space.plan_of_config(ranks, self._budget)
        rest = {name: value for name, value in config.items() if name != RANKS}
        return plan, json.dumps(rest, sort_keys=True, default=_plain)

    def _outcomes(self) -> Outcomes:
        """Reads the inner searcher's metric, as Ray may have told it only now."""
        outcomes = Outcomes(self._inner.metric, "min")
        outcomes.load_counts(self._counts)
        return outcomes

    def _tell(self, name: str, value: float | None, result: Mapping[str, Any] | None = None) -> None:
        """Tells the inner searcher what a point is worth, in its own metric; None is a failure."""
        if value is None:
            self._guarded(self._inner.on_trial_complete, name, result=None, error=True)
            return
        told = {"training_iteration": 1, **(result or {}), self._inner.metric: value}
        self._guarded(self._inner.on_trial_complete, name, result=told, error=False)

    def _guarded(self, call: Any, *given: Any, **named: Any) -> None:
        """A call that may fail without ending the run."""
        try:
            call(*given, **named)
        except NotImplementedError:
            pass
        except Exception as error:
            logger.warning("%s: %s", type(self._inner).__name__, error)


def _plain(value: Any) -> Any:
    """A value that JSON does not have: NumPy's numbers are numbers."""
    return value.item() if isinstance(value, np.generic) else str(value)
