"""The same share of rank everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rank_search.errors import OverBudgetError
from rank_search.searching import Proposal, Searcher, evaluated
from rank_search.space import RankPlan
from rank_search.space.tables.options import LayerOptions
from rank_search.task import Oracles

STEPS = 1000  # fractions that are tried: 1/1000 .. 1


class Uniform(Searcher):
    """One fraction of the largest offered rank for all modes of all layers, as large as the budget allows.

    A mode that is no channel count (the groups of ``svd_grouped``) takes the middle of its offered values.

    A layer whose rank at that fraction costs as much as the dense layer stays dense. In a space of several forms the
    rule is applied once per form (a layer without that form takes its first), and the best on validation is kept; with
    one form nothing is evaluated. Without data the weight error decides.
    """

    needs_data: ClassVar[bool] = False

    def __init__(self, task: Oracles, *, seed: int) -> None:
        super().__init__(task, seed=seed)
        names = dict.fromkeys(form.name for options in task.space.layers for form in options.forms)
        plans = dict.fromkeys(_at_budget(task, name) for name in names)
        self._plans = tuple(plans)
        self._next = 0

    @property
    def done(self) -> bool:
        return self._next >= len(self._plans)

    def step(self) -> Proposal:
        plan = self._plans[self._next]
        self._next += 1
        if len(self._plans) == 1:
            return Proposal(plan)
        if not self.task.has_data:
            error = self.task.weight_error(plan)
            if math.isinf(error):
                return Proposal(plan, failure="no finite fit was found for one of its ranks")
            return Proposal(plan, error)
        return evaluated(self.task, plan)

    def state_dict(self) -> dict[str, Any]:
        return {"next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._next = int(state["next"])


def _at_budget(task: Oracles, form: str) -> RankPlan:
    """The plan of the largest fraction within the budget, by bisection; the smallest one projected if none is."""
    fits, over = 0, STEPS + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        try:
            task.admit(_plan(task, form, middle / STEPS))
            fits = middle
        except OverBudgetError:
            over = middle
    return task.space.project(_plan(task, form, max(fits, 1) / STEPS), task.budget)


def _plan(task: Oracles, form: str, fraction: float) -> RankPlan:
    return task.space.plan(np.array([_row(options, form, fraction) for options in task.space.layers]))


def _row(options: LayerOptions, preferred: str, fraction: float) -> int:
    names = [form.name for form in options.forms]
    position = names.index(preferred) if preferred in names else 0
    form, offered = options.forms[position], options.ranks_of(position)
    rows = np.flatnonzero(options.form == position)
    for mode in (form.modes.index(name) for name in form.exempt):  # no rank: the middle of what is offered
        values = np.unique(offered[:, mode])
        same = offered[:, mode] == values[len(values) // 2]
        offered, rows = offered[same], rows[same]
    exempt = np.array([mode in form.exempt for mode in form.modes])
    share = np.maximum(1, np.rint(fraction * offered.max(0))).astype(np.int64)
    target = np.where(exempt, offered.max(0), share)[None]
    if (options.costs_of(form, target)[0] >= options.costs[0]).all():
        return 0
    below = rows[(offered <= target).all(1)]
    if not len(below):
        return int(rows[np.argmin(options.costs[rows, 0])])
    return int(below[np.argmax(options.costs[below, 0])])
