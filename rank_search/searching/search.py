"""``rank_search.search``: one search in this process."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rank_search.errors import DataError, InvalidInputError, RankSearchError, SearcherError
from rank_search.isolation import isolated
from rank_search.plugins import nearest
from rank_search.searching.evaluator import Evaluations, Evaluator
from rank_search.searching.fidelity import Fidelity
from rank_search.searching.guarded_call import guarded_call
from rank_search.searching.halving import Halving
from rank_search.searching.loop import run_search
from rank_search.searching.result import SearchResult
from rank_search.searching.searcher import AskTellSearcher, SearcherBase, searchers
from rank_search.searching.trial import Trial
from rank_search.searching.watchdog import TimeUp, Watchdog
from rank_search.searching.workers import Workers
from rank_search.task.meter import Limits
from rank_search.task.oracles import Oracles
from rank_search.task.task import Task

DEFAULT_LIMITS = Limits(evaluations=32)
LARGEST_SEED = 2**32 - 1


def make_searcher(task: Task, searcher: str | type[SearcherBase], seed: int, **options: Any) -> SearcherBase:
    """Builds a searcher by name (registered, or ``module:Class``) or class.

    Args:
        task: its meter and data.
        searcher: which.
        seed: of the searcher.
        options: the searcher's own.

    Raises:
        UnknownNameError, PluginError: if there is no such searcher.
        InvalidInputError: if it has no such option, or the seed is not one.
        DataError: if it needs data and the task has none.
        SearcherError: if its constructor raises.
    """
    cls = searchers.get(searcher) if isinstance(searcher, str) else searcher
    check_options(cls, options)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= LARGEST_SEED:
        raise InvalidInputError(f"seed={seed!r} is not allowed: it is a whole number from 0 to {LARGEST_SEED}")
    if cls.needs_data and task.data is None:
        raise DataError(f"the searcher {searcher!r} needs data, and this task has none: give Task(..., data=...)")
    watchdog = Watchdog(task.meter)
    name = f"{cls.__name__}(...)"
    try:
        with watchdog.watching(), watchdog.step():
            return guarded_call(name, lambda: cls(Oracles(task), seed=int(seed), **options), (RankSearchError, TimeUp))
    except TimeUp:
        raise SearcherError(f"{name} did not end within its limit on seconds") from None


def check_options(cls: type[SearcherBase], options: dict[str, Any]) -> None:
    """Checks option names against the constructor.

    Raises:
        InvalidInputError: for an option it does not have.
    """
    parameters = inspect.signature(cls).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    allowed = [name for name in parameters if name not in ("task", "seed")]
    for name in options:
        if name in cls.renamed:
            raise InvalidInputError(f"{cls.__name__} has no option {name!r} any more: {cls.renamed[name]}")
        if name not in allowed:
            raise InvalidInputError(
                f"{cls.__name__} has no option {name!r}{nearest(name, allowed)}; it has: {', '.join(allowed) or 'none'}"
            )


def search(
    task: Task,
    searcher: str | type[SearcherBase] = "knapsack",
    limits: Limits = DEFAULT_LIMITS,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    callback: Callable[[Trial], None] = lambda trial: None,
    parallel: int = 1,
    workers: Workers | None = None,
    fidelity: Fidelity | None = None,
    **options: Any,
) -> SearchResult:
    """Chooses ranks for a task.

    Args:
        task: model, space, budget and data; its own meter is left alone.
        searcher: a registered name, ``module:Class``, or a class.
        limits: what the search may spend; 32 evaluations unless told.
        seed: of the searcher.
        checkpoint: a file that is rewritten after every trial; if it exists, the search goes on from it.
        callback: called with every :class:`Trial` when it is over.
        parallel: plans that an ask-and-tell searcher has in flight at once.
        workers: who evaluates them; this process unless told. How many they are changes nothing.
        fidelity: fine-tunes every plan from rung to rung, the better ones longer; None judges them untrained.
        options: the searcher's own.

    Returns:
        The best plan within the budget, with its cost, score, lower bound, meter and every trial.
    """
    metered = task.under(task.budget, limits=limits)
    file = None if checkpoint is None else Path(checkpoint)
    with isolated(0):
        made = make_searcher(metered, searcher, seed, **options)
    return run_search(made, file, callback, parallel, make_evaluator(metered, made, workers, fidelity))


def make_evaluator(
    task: Task, searcher: SearcherBase, workers: Workers | None = None, fidelity: Fidelity | None = None
) -> Evaluator:
    """How the plans of an ask-and-tell searcher are evaluated.

    Raises:
        InvalidInputError: if there are workers or a fidelity for a method that evaluates by itself.
        DataError: if plans are to be trained and there is no data.
    """
    if (workers is not None or fidelity is not None) and not isinstance(searcher, AskTellSearcher):
        what = "workers" if workers is not None else "a fidelity"
        raise InvalidInputError(
            f"{type(searcher).__name__} goes its own way, step by step: only searchers that ask and are told can have "
            f"{what}"
        )
    if fidelity is None:
        return Evaluations(task, workers)
    if task.data is None:
        raise DataError("a fidelity trains plans, and this task has no data: give Task(..., data=...)")
    return Halving(task, fidelity, workers)
