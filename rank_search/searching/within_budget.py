"""Plans of rules with one parameter: the parameter that the budget allows, and the options that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import OverBudgetError
from rank_search.space import RankPlan
from rank_search.space.tables.options import LayerOptions
from rank_search.task.oracles import Oracles

STEPS = 1000
T = TypeVar("T")


def first_within(task: Oracles, parameters: Sequence[T], plan_of: Callable[[T], RankPlan]) -> RankPlan:
    """The plan of the first parameter that is within the budget, found by bisection.

    Args:
        task: whose budget.
        parameters: from the dearest plan to the cheapest: costs must not rise along them.
        plan_of: the plan of a parameter.

    Returns:
        That plan; where none is within the budget, the last one projected onto it.
    """
    over, fits = -1, len(parameters)
    while fits - over > 1:
        middle = (fits + over) // 2
        over, fits = (over, middle) if is_within(task, plan_of(parameters[middle])) else (middle, fits)
    if fits < len(parameters):
        return plan_of(parameters[fits])
    return task.space.project(plan_of(parameters[-1]), task.budget)


def is_within(task: Oracles, plan: RankPlan) -> bool:
    """Whether a plan is within the task's budget."""
    try:
        task.admit(plan)
    except OverBudgetError:
        return False
    return True


def shares(steps: int = STEPS) -> list[float]:
    """Fractions from 1 down to 1 / steps."""
    return [step / steps for step in range(steps, 0, -1)]


def bounded_costs(task: Oracles) -> list[FloatArray]:
    """Per layer what every option costs: the sum over the bounded metrics of its part of what the budget leaves."""
    columns, capacity = task.space.bounds(task.budget)
    scale = np.maximum(capacity, 1.0)
    return [(options.costs[:, columns] / scale).sum(1) for options in task.space.layers]


def cheapest(task: Oracles, allowed: Sequence[NDArray[np.bool_]], errors: Sequence[FloatArray]) -> RankPlan:
    """Every layer at the cheapest of its allowed options; of equally cheap ones that of the least error."""
    rows = []
    for cost, able, error in zip(bounded_costs(task), allowed, errors, strict=True):
        places = np.flatnonzero(able)
        rows.append(int(places[np.lexsort((error[places], cost[places]))[0]]))
    return task.space.plan(np.array(rows))


def form_names(task: Oracles) -> list[str]:
    """The forms of the space, in its order."""
    return list(dict.fromkeys(form.name for options in task.space.layers for form in options.forms))


def position_of(options: LayerOptions, form: str) -> int:
    """The place of a form in a layer; a layer without it takes its first."""
    names = [kind.name for kind in options.forms]
    return names.index(form) if form in names else 0


def largest_ranks(options: LayerOptions, position: int) -> IntArray:
    """The largest offered rank of each mode of a form, ``[modes]``."""
    largest: IntArray = options.ranks_of(position).max(0)
    return largest


def row_below(options: LayerOptions, position: int, target: FloatArray) -> int:
    """The dearest option of a form with no rank above its target; dense where ranks of that size save nothing.

    A mode that is no rank (``exempt``: the groups of ``svd_grouped``) takes the middle of its offered values. Where
    every option is above the target, the cheapest is taken. Options that are known to have no fit are left out.

    Args:
        options: of the layer.
        position: of the form.
        target: ``[modes]``, in ranks; rounded, at least 1.
    """
    form = options.forms[position]
    rows = np.flatnonzero((options.form == position) & options.fitting)
    if not len(rows):
        return 0
    offered = options.ranks[rows, : len(form.modes)]
    for mode in (form.modes.index(name) for name in form.exempt):
        values = np.unique(offered[:, mode])
        same = offered[:, mode] == values[len(values) // 2]
        offered, rows = offered[same], rows[same]
    exempt = np.array([mode in form.exempt for mode in form.modes])
    share = np.maximum(1, np.rint(np.minimum(target, form.largest_ranks(options.layer)))).astype(np.int64)
    wanted = np.where(exempt, offered.max(0), share)[None]
    if (options.costs_of(form, wanted)[0] >= options.costs[0]).all():
        return 0
    below = rows[(offered <= wanted).all(1)]
    if not len(below):
        return int(rows[np.argmin(options.costs[rows, 0])])
    return int(below[np.argmax(options.costs[below, 0])])
