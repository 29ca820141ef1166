"""A budget of a time, kept by whole networks: what a search answers is timed, and searched again if it is over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rank_search.deploy.latency import latency_of
from rank_search.deploy.latency.metric import NANO
from rank_search.deploy.latency.whole import untrained
from rank_search.errors import OverBudgetError
from rank_search.files import write_json
from rank_search.records.schema import CHECKPOINT_FILE
from rank_search.run.config import LATENCY
from rank_search.run.finalists import best_plans
from rank_search.searching import SearchResult
from rank_search.space import Budget
from rank_search.task import Task

TURNS_FILE = "timed.json"
TURNS = 5
MARGIN = 0.995
"""What a bound is tightened to, beyond what the last answer was over."""
LEAST_NOISE, MOST_NOISE = 0.01, 0.05


def search_in_time(
    task: Task, budget: Budget, search: Callable[[Budget], SearchResult], top_k: int, place: Path
) -> tuple[SearchResult, list[str]]:
    """Searches, times the answer as a whole network, and searches again under a tighter bound while it is over.

    Without a bound on a time it is one search.

    Args:
        task: whose space counts the time.
        budget: the user's.
        search: runs one search under a budget, from the checkpoint in ``place`` if there is one.
        top_k: of its plans so many may become the answer.
        place: the cell's folder; the turns that are over are kept there, for a resume.

    Returns:
        The last search's result, and remarks: how often it was searched, and what cannot be told from the bound.

    Raises:
        OverBudgetError: if the answer is still over after five turns.
    """
    metric = latency_of(task.space)
    if metric is None or metric.name not in budget.metrics:
        return search(budget), []
    file = place / TURNS_FILE
    turns: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    dense_cost = task.space.dense_cost[metric.name]
    limit = budget.limits(task.space.dense_cost)[metric.name]
    given = dict(budget.bounds)[metric.name]
    absolute = isinstance(given, str) or given > 1
    while True:
        bound = turns[-1]["bound"] if turns else None
        result = search(budget if bound is None else Budget(**{**budget.to_dict(), metric.name: bound}))
        plans = [plan for plan, _ in best_plans(result, top_k)]
        dense, *times = metric.time_in_turn([task.model, *(untrained(task.model, p) for p in plans)], task.space.sample)
        shares = [time.least / dense.least for time in times]
        allowed = limit / (NANO * dense.least) if absolute else limit / dense_cost
        worst = max(range(len(plans)), key=shares.__getitem__)
        noise = min(MOST_NOISE, max(LEAST_NOISE, dense.noise, times[worst].noise))
        if shares[worst] <= allowed * (1 + noise):
            return result, _remarks(turns, shares[worst], allowed, noise)
        predicted = task.space.cost(plans[worst])[metric.name] / dense_cost
        if len(turns) + 1 == TURNS:
            raise OverBudgetError(
                f"the answer takes {shares[worst]:.3f} of the dense network's time in {metric.engine.name}, the budget "
                f"{budget} allows {allowed:.3f}, and {TURNS} searches under tighter bounds did not get below it: this "
                "machine's times cannot be trusted now; give a larger budget or a quieter machine"
            )
        tighter = MARGIN * min(predicted, bound or allowed) * allowed / shares[worst]
        (place / CHECKPOINT_FILE).unlink(missing_ok=True)
        turns.append({"bound": tighter, "predicted": predicted, "measured": shares[worst]})
        write_json(file, turns)


def over_again(budget: Budget, times: Mapping[str, Any]) -> list[str]:
    """A remark if the time that a row tells, measured once more, is above the bound that the answer was held to."""
    bound = dict(budget.bounds).get(LATENCY)
    if bound is None:
        return []
    absolute = isinstance(bound, str) or bound > 1
    most = float(str(bound).removesuffix("ms")) if absolute else float(bound) * times["dense_latency_ms"]
    if times["latency_ms"] <= most:
        return []
    return [f"timed once more after its check it took {times['latency_ms']:.4g} ms; the bound is {most:.4g} ms now"]


def _remarks(turns: list[dict[str, Any]], share: float, allowed: float, noise: float) -> list[str]:
    found = []
    if turns:
        over = ", ".join(f"{turn['measured']:.3f}" for turn in turns)
        found.append(f"searched {len(turns) + 1} times: whole networks took {over} of the dense time")
    if share > allowed:
        found.append(
            f"the measured time, {share:.3f} of the dense network's, is above the bound {allowed:.3f} by less than "
            f"this machine's noise ({noise:.1%})"
        )
    return found
