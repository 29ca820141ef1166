"""Kept ratios that rise or fall with depth in a straight line."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import ClassVar

import numpy as np

from rank_search.errors import InvalidInputError
from rank_search.searching import About, RuleSearcher
from rank_search.searching.within_budget import (
    first_within,
    form_names,
    largest_ranks,
    position_of,
    row_below,
    shares,
)
from rank_search.space import RankPlan
from rank_search.task import Oracles

MOST, STEPS = 4.0, 4000  # mean shares beyond 1 spend what layers that are full leave over


class DepthRamp(RuleSearcher):
    """The uniform rule with a slope: the share of rank changes in a straight line from the first layer to the last.

    ATP (arXiv 2502.14770): the slope is chosen from a small grid by the measured loss; at every slope the mean share is
    bisected to the budget. Ours: in a space of several forms slope 0 is tried with each of them first, and the others
    with the best.

    Args:
        slopes: share of the last layer over that of the first, less 1, as a fraction of the mean: at .5 the first has
            .75 of the mean and the last 1.25. Within -2 and 2.
    """

    about: ClassVar[About] = About("data-aware", "labels", "ATP (arXiv 2502.14770)", "reconstruction")

    def __init__(
        self, task: Oracles, *, seed: int, slopes: Sequence[float] = (-1.2, -0.8, -0.4, 0.4, 0.8, 1.2)
    ) -> None:
        super().__init__(task, seed=seed)
        if isinstance(slopes, str) or not isinstance(slopes, Sequence) or not slopes:
            raise InvalidInputError(f"slopes={slopes!r} is not allowed: give a list of numbers from -2 to 2")
        for slope in slopes:
            if isinstance(slope, bool) or not isinstance(slope, Real) or not -2 <= slope <= 2:
                raise InvalidInputError(f"slopes={list(slopes)!r} is not allowed: each is a number from -2 to 2")
        self._slopes = tuple(float(slope) for slope in slopes if slope)

    def plans(self) -> Sequence[RankPlan]:
        forms = form_names(self.task)
        if len(forms) == 1:
            return [self._at_budget(forms[0], slope) for slope in (0.0, *self._slopes)]
        return [self._at_budget(form, 0.0) for form in forms]

    def more(self, plans: Sequence[RankPlan], scores: Sequence[float | None]) -> Sequence[RankPlan]:
        forms = form_names(self.task)
        judged = [(score, i) for i, score in enumerate(scores) if score is not None]
        if len(forms) == 1 or not judged:
            return ()
        best = plans[min(judged)[1]]
        form = next(form for form in forms if self._at_budget(form, 0.0) == best)
        return [self._at_budget(form, slope) for slope in self._slopes]

    def _at_budget(self, form: str, slope: float) -> RankPlan:
        layers = [(options, position_of(options, form)) for options in self.task.space.layers]
        largest = [largest_ranks(options, position) for options, position in layers]
        depths = np.linspace(-0.5, 0.5, len(layers)) if len(layers) > 1 else np.zeros(1)

        def plan(share: float) -> RankPlan:
            rows = [
                row_below(*layer, np.clip(share * (1 + slope * depth), 0.0, 1.0) * top)
                for layer, top, depth in zip(layers, largest, depths.tolist(), strict=True)
            ]
            return self.task.space.plan(np.array(rows))

        return first_within(self.task, [MOST * share for share in shares(STEPS)], plan)
