"""What a report must know of a budget's text: the metrics it limits, and which of two budgets is the looser."""

from __future__ import annotations

import math
from collections.abc import Iterable


def metrics(budget: str) -> tuple[str, ...]:
    """The metrics that a budget such as ``macs=0.5,params=0.4`` limits: MACs first, then by name."""
    return tuple(sorted(_limits(budget), key=lambda name: (name != "macs", name)))


def largest_first(budgets: Iterable[str]) -> list[str]:
    """Sorts budget texts from the loosest to the tightest, each once.

    MACs decide first, then the other metrics by name; a metric that a budget does not limit counts as unlimited.
    Counts (``params=200000``) and fractions are compared as the numbers they are. A text of another kind comes last.
    """
    parsed = {budget: _limits(budget) for budget in budgets}
    every = sorted({metric for limits in parsed.values() for metric in limits}, key=lambda name: (name != "macs", name))

    def key(budget: str) -> tuple[bool, list[float], str]:
        limits = parsed[budget]
        return not limits, [-limits.get(metric, math.inf) for metric in every], budget

    return sorted(parsed, key=key)


def _limits(budget: str) -> dict[str, float]:
    limits = {}
    for part in budget.split(","):
        metric, _, value = part.partition("=")
        try:
            limits[metric.strip()] = float(value)
        except ValueError:
            return {}
    return limits
