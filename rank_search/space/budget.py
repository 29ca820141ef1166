"""The budget: a hard upper bound on what the compressed network may cost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rank_search.errors import BudgetError
from rank_search.plugins import nearest
from rank_search.space.metrics.metric import ALWAYS, known_metrics, per_unit_of

Bound = float | int | str
"""A fraction, a whole number, or a text with a unit."""

UNIT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*ms")
"""An absolute time, ``0.35ms``."""


@dataclass(frozen=True, init=False, repr=False)
class Budget:
    """An upper bound per metric, each a fraction of the WHOLE dense network or an absolute number.

    ``Budget(macs=0.3)`` keeps at most 0.3 of the MACs; ``Budget(params=200_000, macs=0.5)`` bounds both. A float in
    (0, 1] is a fraction; an integer above 1 is absolute. A time is absolute in milliseconds, with any number above 1
    or as a text: ``Budget(latency_ms="0.35ms")``.

    Raises:
        BudgetError: for no or an unknown metric, zero, a negative number, NaN or a fraction above 1.
    """

    bounds: tuple[tuple[str, Bound], ...]

    def __init__(self, /, **bounds: Bound) -> None:
        if not bounds:
            raise BudgetError(f"a budget needs at least one of {', '.join(known_metrics())}, e.g. macs=0.5")
        bounds = {m: bound.item() if isinstance(bound, np.number) else bound for m, bound in bounds.items()}
        for metric, bound in bounds.items():
            if metric not in ALWAYS and metric not in (known := known_metrics()):
                raise BudgetError(
                    f"unknown budget metric {metric!r}{nearest(metric, known)}; known: {', '.join(known)}"
                )
            is_time = metric not in ALWAYS and per_unit_of(metric) > 1
            if is_time and isinstance(bound, str) and (found := UNIT.fullmatch(bound.strip())):
                bound = bounds[metric] = f"{float(found[1]):g}ms"
                if float(found[1]) > 0:
                    continue
            if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < 2**63:
                absolute = "a time such as 0.35ms" if is_time else "a whole number"
                raise BudgetError(f"budget {metric}={bound!r} is not allowed: give a fraction in (0, 1] or {absolute}")
            if isinstance(bound, float) and bound > 1 and not is_time:
                raise BudgetError(
                    f"budget {metric}={bound} is above 1 as a fraction; an absolute budget is a whole number, "
                    f"e.g. {metric}={max(2, round(bound))}"
                )
        order = [*ALWAYS, *sorted({*bounds} - {*ALWAYS})]
        ordered = tuple((metric, bounds[metric]) for metric in order if metric in bounds)
        object.__setattr__(self, "bounds", ordered)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The bounded metrics: ``params``, ``macs``, then the others by name."""
        return tuple(metric for metric, _ in self.bounds)

    def limits(self, dense: Mapping[str, int]) -> dict[str, int]:
        """The largest allowed cost per bounded metric, given the cost of the dense network per metric.

        Raises:
            BudgetError: if the space that the costs are of does not have a metric.
        """
        for metric in self.metrics:
            if metric not in dense:
                raise BudgetError(
                    f"the budget {self} bounds {metric!r}, which this space does not count ({', '.join(dense)}): "
                    f"build it with metrics=[{metric!r}]"
                )
        return {metric: _limit(metric, bound, dense[metric]) for metric, bound in self.bounds}

    def to_dict(self) -> dict[str, Bound]:
        return dict(self.bounds)

    def __repr__(self) -> str:
        return f"Budget({', '.join(f'{metric}={bound!r}' for metric, bound in self.bounds)})"

    def __str__(self) -> str:
        return ",".join(f"{metric}={bound}" for metric, bound in self.bounds)


def _limit(metric: str, bound: Bound, dense: int) -> int:
    """The bound in the metric's own units."""
    if isinstance(bound, str):
        return math.floor(float(bound.removesuffix("ms")) * per_unit_of(metric))
    if bound > 1:
        return math.floor(bound * per_unit_of(metric))
    return math.floor(bound * dense)
