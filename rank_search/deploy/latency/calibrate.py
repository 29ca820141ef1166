"""Two numbers from whole networks: what they take of the sum of their layers, and what no plan changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from rank_search.arrays import FloatArray
from rank_search.deploy.latency.metric import Latency
from rank_search.deploy.latency.whole import required_latency, whole_times
from rank_search.errors import InfeasibleBudgetError
from rank_search.space import Budget, RankPlan, RankSpace

KEPT = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2)
"""Fractions of the MACs of the random plans that are timed whole."""
DENSE_WEIGHT = 3.0


def calibrated(space: RankSpace, model: nn.Module, plans: Sequence[RankPlan] = ()) -> RankSpace:
    """The space whose times were fitted to whole networks: the dense one, random plans, and those that are given.

    ``time = scale * sum of layers + rest``, both at least 0, by least squares of the relative differences; the dense
    network, of which budgets are fractions, and the plans that are given count three times.

    Args:
        space: with a :class:`Latency` among its metrics.
        model: the dense network.
        plans: where it should be right.
    """
    metric = required_latency(space)
    space = space.recounted(model)  # its table may have been fitted since
    chosen = [*plans, *random_plans(space)]
    dense, others = whole_times(space, model, chosen)
    sums = layer_sums(space, metric, [space.dense, *chosen])
    times = np.array([dense, *others], dtype=np.float64)
    weights = np.array([DENSE_WEIGHT, *[DENSE_WEIGHT] * len(plans), *[1.0] * (len(chosen) - len(plans))])
    system = np.stack([sums, np.ones(len(sums))], axis=1) * (weights / times)[:, None]
    from scipy.optimize import nnls

    (scale, rest), _ = nnls(system, weights)
    metric.table.fit = {"scale": float(scale), "rest": int(rest)}
    return space.recounted(model)


def random_plans(space: RankSpace, kept: Sequence[float] = KEPT, seed: int = 0) -> list[RankPlan]:
    """A random plan at every fraction of the MACs that the space reaches."""
    rng, found = np.random.default_rng(seed), []
    for fraction in kept:
        try:
            found.append(space.random_plan(rng, Budget(macs=fraction)))
        except InfeasibleBudgetError:
            continue
    return found


def layer_sums(space: RankSpace, metric: Latency, plans: Sequence[RankPlan]) -> FloatArray:
    """The sum of the layers' own times of every plan, ``[plans]`` nanoseconds."""
    rows = np.stack([space.indices(plan) for plan in plans])
    column = space.metric_names.index(metric.name)
    variable = space.costs(rows)[:, column] - space.fixed_cost[metric.name]
    sums: FloatArray = variable / max(metric.scale, 1e-12)
    return sums
