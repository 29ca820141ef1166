"""The data-free optimum where tables hold interpolated errors: what is chosen gets measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.budget import Budget
from rank_search.space.forms.estimate import Estimate
from rank_search.space.solver.knapsack import Solution
from rank_search.space.tables.options import LayerOptions

if TYPE_CHECKING:
    from rank_search.space.space import RankSpace

Values = Callable[[Sequence[FloatArray]], Sequence[FloatArray]]
"""From the relative errors of all layers, ``[n]`` each, to the values that are summed; rising in each error."""


@dataclass(frozen=True)
class MeasuredSolution:
    """Args:
    solution: its value is of measured errors only; ``lower_bound`` holds for every plan, whatever the interpolated
        options turn out to err, as long as no rank errs less than the next larger one that was fitted.
    errors: relative, per layer, with which it was found, ``[n]``.
    interpolation: how much of the gap to the bound is due to options that were not fitted; None if all are.
    fitted: options that were measured beyond those of the tables.
    """

    solution: Solution
    errors: list[FloatArray]
    interpolation: float | None
    fitted: int


def minimise_measured(space: RankSpace, budget: Budget, values: Values = list) -> MeasuredSolution:
    """The plan of least total value as :meth:`RankSpace.minimise` finds it, each of its options measured.

    Solves with the tables, measures what was chosen, the next ranks on both sides, and what an interpolating form has
    to offer in its place, and solves again, until nothing of that is interpolated any more. It ends, since every turn
    measures an option that was not measured; the tables themselves are left as they are. Where no form interpolates it
    is one ``space.minimise``.

    Args:
        space: its errors are computed if they are not yet.
        budget: the bound on the whole network's cost.
        values: what is summed; the relative errors themselves unless given.

    Raises:
        InfeasibleBudgetError: if no feasible plan was found.
    """
    found = [options.estimated for options in space.layers]
    fitted = 0
    while True:
        errors = [_relative(options, one.errors) for options, one in zip(space.layers, found, strict=True)]
        solution = space.minimise(values(errors), budget)
        wanted = [
            _unmeasured(options, one, int(row))
            for options, one, row in zip(space.layers, found, solution.indices, strict=True)
        ]
        if not any(one.any() for one in wanted):
            break
        for layer, (options, more) in enumerate(zip(space.layers, wanted, strict=True)):
            if more.any():
                fitted += int(more.sum())
                found[layer] = options.estimate(found[layer].measured | more)
    if all(one.measured.all() for one in found):
        return MeasuredSolution(solution, errors, None, fitted)
    floors = [_relative(options, one.floors) for options, one in zip(space.layers, found, strict=True)]
    bound = min(space.minimise(values(floors), budget).lower_bound, solution.lower_bound)
    certain = Solution(solution.indices, solution.value, bound)
    return MeasuredSolution(certain, errors, solution.lower_bound - bound, fitted)


def _unmeasured(options: LayerOptions, estimate: Estimate, row: int) -> NDArray[np.bool_]:
    """Interpolated options that could take an option's place, ``[n]``: it and its neighbours of the same form.

    Of another form, the dearest that is no dearer than the option on any metric, and its neighbours.
    """
    wanted = np.zeros(len(options), dtype=np.bool_)
    for form in np.unique(options.form[~estimate.measured]):
        rows: IntArray = np.flatnonzero(options.form == form)
        order = rows[np.lexsort(options.ranks[rows].T[::-1])]
        centre = row
        if options.form[row] != form:
            rivals = (options.costs[order] <= options.costs[row]).all(1) & (
                estimate.floors[order] < estimate.errors[row]
            )
            if not rivals.any():
                continue
            centre = order[np.flatnonzero(rivals)[-1]]
        place = int(np.flatnonzero(order == centre)[0])
        wanted[order[max(0, place - 1) : place + 2]] = True
    return wanted & ~estimate.measured


def _relative(options: LayerOptions, errors: FloatArray) -> FloatArray:
    return errors / max(options.energy, 1e-300)
