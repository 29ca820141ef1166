"""Measuring what the data-free optimum chooses, until nothing that it chose is interpolated."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import nn

from rank_search.arrays import IntArray
from rank_search.deploy.latency.calibrate import calibrated
from rank_search.deploy.latency.metric import Latency
from rank_search.deploy.latency.whole import required_latency
from rank_search.space import Budget, LayerOptions, RankPlan, RankSpace

TURNS = 12


def refined(space: RankSpace, model: nn.Module, budgets: Iterable[Budget] | Budget) -> RankSpace:
    """The space with times measured where its budgets lie.

    For each budget of a time the plan of least relative error is solved for, what it chose and the next ranks on both
    sides are timed, and it is solved again, until all that is chosen was timed (or twelve turns are over); then whole
    networks, these plans among them, calibrate the table (:func:`calibrated`).

    Args:
        space: with a :class:`Latency` among its metrics.
        model: the dense network.
        budgets: those of no time are passed over.

    Raises:
        InfeasibleBudgetError: if no plan meets one; says the smallest reachable.
    """
    metric = required_latency(space)
    space = calibrated(space, model)
    budgets = [budgets] if isinstance(budgets, Budget) else budgets
    wanted = [budget for budget in budgets if metric.name in budget.metrics]
    for _ in range(2):
        plans: list[RankPlan] = []
        for budget in wanted:
            space, plan = _settled(space, model, metric, budget)
            plans.append(plan)
        if plans:
            space = calibrated(space, model, plans)
    return space


def _settled(space: RankSpace, model: nn.Module, metric: Latency, budget: Budget) -> tuple[RankSpace, RankPlan]:
    values = space.relative_errors()
    for _ in range(TURNS):
        rows = space.minimise(values, budget).indices
        new = False
        for options, row in zip(space.layers, rows.tolist(), strict=True):
            choice = options.choice(row)
            if row and not metric.is_measured(options.layer, choice.form, choice.ranks):
                new = True
                near = _neighbours(options, row)
                metric.time_exactly(options.layer, options.forms[int(options.form[row])], near)
        if not new:
            break
        space = space.recounted(model)
    return space, space.plan(rows)


def _neighbours(options: LayerOptions, row: int) -> list[tuple[int, ...]]:
    """The rank tuples of an option and of the next ones of its form on both sides."""
    rows: IntArray = np.flatnonzero(options.form == options.form[row])
    order = rows[np.lexsort(options.ranks[rows].T[::-1])]
    place = int(np.flatnonzero(order == row)[0])
    return [options.choice(int(near)).ranks for near in order[max(0, place - 1) : place + 2]]
