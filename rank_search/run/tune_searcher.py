"""A searcher of rank-search in somebody else's Ray Tune: ``Tuner(tune_config=TuneConfig(search_alg=...))``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ray.tune.search import Searcher

from rank_search.errors import InvalidInputError, RankSearchError
from rank_search.isolation import isolated
from rank_search.run.in_order import InOrder
from rank_search.run.tune_outcome import Outcomes
from rank_search.run.tune_record import tune_records
from rank_search.searching.guarded_call import guarded_call
from rank_search.searching.search import make_searcher
from rank_search.searching.searcher import AskTellSearcher, SearcherBase, searchers
from rank_search.searching.trial import Trial
from rank_search.states import load_state, save_state
from rank_search.task import Task

PLAN = "plan"


class TuneSearcher(Searcher):  # type: ignore[misc]
    """Suggests ``{"plan": {LAYER: {"form": ..., "ranks": [...]}}}``: every plan within the budget, none twice.

    The trainable reads it with ``RankPlan.from_json(config["plan"])``. The searcher hears of the trials in the order of
    asking, whatever the order in which they end; a trial without a finite metric has failed. A plan that the searcher
    asks for again is answered from what is known. It waits (``suggest`` returns None) where it needs pending results,
    and ends where it has none left, gives up, or reaches a limit.

    A killed run goes on with ``Tuner.restore(path, trainable)``. Ray puts down its state every ten seconds, or every
    ``TUNE_GLOBAL_CHECKPOINT_S``; what ended later runs again, with the same plans.

    Args:
        searcher: a registered name, ``module:Class`` or a class that asks and is told.
        task: its space, budget, weights and data, and the limits of its meter; a fresh meter is used. Trials evaluate,
            so it needs no data unless the searcher looks at some.
        metric: of the trials' results.
        mode: ``min`` or ``max``.
        seed: of the searcher.
        options: the searcher's own.

    Attributes:
        trials: all that the searcher was told, in order.
        ended: why it suggests nothing more; None while it does.

    Raises:
        InvalidInputError: if the searcher goes its own way, step by step, or an argument is not allowed.
    """

    def __init__(
        self,
        searcher: str | type[SearcherBase],
        task: Task,
        metric: str = "loss",
        mode: Literal["min", "max"] = "min",
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()  # Ray itself is told no metric: it ends the run where a result lacks it
        cls = searchers.get(searcher) if isinstance(searcher, str) else searcher
        if not issubclass(cls, AskTellSearcher):
            raise InvalidInputError(
                f"{cls.__name__} goes its own way, step by step: only a searcher that asks and is told can suggest "
                "plans to a Tuner; use rank_search.search for it"
            )
        if not isinstance(task, Task):
            raise InvalidInputError(f"a {type(task).__name__} is no task: give rank_search.Task(model, space, budget)")
        self._made: dict[str, Any] = {"searcher": searcher, "task": task, "metric": metric, "mode": mode, "seed": seed}
        self._made |= options
        self._cls: type[AskTellSearcher] = cls
        self._start()

    def _start(self) -> None:
        """Everything as before the first suggestion."""
        made = {name: value for name, value in self._made.items() if name not in ("searcher", "metric", "mode")}
        task: Task = made.pop("task")
        task = task.under(task.budget, limits=task.meter.limits)
        self._outcomes = Outcomes(self._made["metric"], self._made["mode"])
        cls = self._cls
        if task.data is None and cls.needs_data:  # trials evaluate
            cls = type(cls.__name__, (cls,), {"needs_data": False})
        with isolated(0):
            searcher = make_searcher(task, cls, **made)
        assert isinstance(searcher, AskTellSearcher)
        self._search = InOrder(self._cls.__name__, searcher, task)

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(self._search.trials)

    @property
    def ended(self) -> str | None:
        return self._search.ended

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next plan as plain data; None to wait; ``FINISHED``.

        Raises:
            SearcherError: if the searcher raises, or goes over the budget.
            InvalidInputError: if no trial reports the metric.
        """
        self._outcomes.require_metric()
        plan = self._search.next(trial_id)
        if plan is not None:
            return {PLAN: plan.to_dict()}
        return None if self.ended is None else str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Takes what a trial reported last; raises nothing."""
        self._search.finish(trial_id, self._outcomes.read(result, error))

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """The searcher has its own metric and space: Ray refuses a ``param_space`` with something left to choose."""
        return False

    def save(self, checkpoint_path: str) -> None:
        """Writes all that the next suggestions depend on; no pickle.

        Raises:
            StorageError, SearcherError
        """
        path, state = Path(checkpoint_path), self._state()
        guarded_call(self._cls.__name__, lambda: save_state(path, state), (RankSearchError,))

    def restore(self, checkpoint_path: str) -> None:
        """Goes on from :meth:`save`, and from the snapshot of the experiment beside it if there is one.

        Raises:
            InvalidInputError: if the file is missing, or of another searcher, seed, metric or budget.
        """
        path = Path(checkpoint_path)
        self._load(load_state(path))
        records = tune_records(path.parent)
        if records is not None:
            self._search.reconcile(
                {
                    record.trial_id: (
                        record.plan,
                        self._outcomes.read(record.result, record.error) if record.finished else None,
                    )
                    for record in records
                    if record.plan is not None
                }
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"made": self._made, "cls": self._cls, "state": self._state()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__init__()
        self._made, self._cls = state["made"], state["cls"]
        self._load(state["state"])

    def __repr__(self) -> str:
        return f"TuneSearcher({self._cls.__name__}, metric={self._made['metric']!r}, mode={self._made['mode']!r})"

    def _state(self) -> dict[str, Any]:
        return {"of": self._of(), "results": self._outcomes.counts(), "search": self._search.state_dict()}

    def _load(self, state: Mapping[str, Any]) -> None:
        self._start()
        if state.get("of") != self._of():
            raise InvalidInputError(f"the saved state is of {state.get('of')}, this searcher is {self._of()}")
        self._outcomes.load_counts(state["results"])
        self._search.load_state_dict(state["search"])

    def _of(self) -> dict[str, Any]:
        """What a state must be of."""
        plain = {name: self._made[name] for name in ("metric", "mode", "seed")}
        return {"searcher": self._cls.__qualname__, **plain, "budget": self._made["task"].budget.to_dict()}
