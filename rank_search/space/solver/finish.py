"""The end of a knapsack with one metric: the optimum itself, among the few options that can still be in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rank_search.arrays import FloatArray, IntArray

MAX_STATES = 200_000


def finish(
    values: Sequence[FloatArray],
    costs: Sequence[FloatArray],
    capacity: float,
    multiplier: float,
    best: float,
) -> IntArray | None:
    """The selection of least value, if it is below ``best``; proves that there is none when it returns ``[]``.

    With the multiplier of the dual's maximum an option's reduced cost is what it adds to the lower bound: options whose
    reduced cost is above the gap are in no better selection (reduced-cost fixing). The others are joined layer by
    layer; a partial selection goes when its bound is not below ``best`` or another costs no more at no more value.

    Args:
        values, costs: per layer ``[n_l]``; costs are whole numbers.
        capacity: of the total cost.
        multiplier: any value >= 0 is right, the dual's maximum is fast.
        best: value of a known feasible selection.

    Returns:
        Per layer the chosen option, or an empty array when nothing is better, or None when it took too many states.
    """
    scores = [value + multiplier * cost for value, cost in zip(values, costs, strict=True)]
    bound = sum(float(score.min()) for score in scores) - multiplier * capacity
    reduced = [score - score.min() for score in scores]
    limit = best - 1e-12 * abs(best)
    kept = [np.flatnonzero(bound + extra < limit) for extra in reduced]
    if not all(len(rows) for rows in kept):
        return np.array([], dtype=np.int64)
    order = sorted(range(len(kept)), key=lambda layer: len(kept[layer]))
    rest = np.cumsum([float(costs[layer][kept[layer]].min()) for layer in reversed(order)])[::-1]
    cost, value, spent = np.zeros(1), np.zeros(1), np.zeros(1)
    trail: list[tuple[IntArray, IntArray]] = []
    for depth, layer in enumerate(order):
        rows = kept[layer]
        after = rest[depth + 1] if depth + 1 < len(order) else 0.0
        if len(cost) * len(rows) > 20 * MAX_STATES:
            return None
        joined_cost = (cost[:, None] + costs[layer][rows]).ravel()
        joined_spent = (spent[:, None] + reduced[layer][rows]).ravel()
        alive = np.flatnonzero((joined_cost + after <= capacity) & (bound + joined_spent < limit))
        if not len(alive):
            return np.array([], dtype=np.int64)
        joined_value = (value[:, None] + values[layer][rows]).ravel()[alive]
        joined_cost, joined_spent = joined_cost[alive], joined_spent[alive]
        by_cost = np.lexsort((joined_value, joined_cost))
        before = np.minimum.accumulate(np.concatenate([[np.inf], joined_value[by_cost]]))[:-1]
        front = by_cost[joined_value[by_cost] < before]
        if len(front) > MAX_STATES:
            return None
        cost, value, spent = joined_cost[front], joined_value[front], joined_spent[front]
        parent, option = np.divmod(alive[front], len(rows))
        trail.append((parent, rows[option]))
    state = int(np.argmin(value))
    if value[state] >= limit:
        return np.array([], dtype=np.int64)
    chosen = np.zeros(len(order), dtype=np.int64)
    for layer, (parent, option) in zip(reversed(order), reversed(trail), strict=True):
        chosen[layer] = option[state]
        state = int(parent[state])
    return chosen
