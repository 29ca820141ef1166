"""The same share of rank everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

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


class Uniform(RuleSearcher):
    """One fraction of the largest offered rank for all modes of all layers, as large as the budget allows.

    A mode that is no channel count (the groups of ``svd_grouped``) takes the middle of its offered values.

    A layer whose rank at that fraction costs as much as the dense layer stays dense. In a space of several forms the
    rule is applied once per form (a layer without that form takes its first), and the best on validation is kept; with
    one form nothing is evaluated. Without data the weight error decides.
    """

    needs_data: ClassVar[bool] = False
    about: ClassVar[About] = About("reference", "weights", "", "ours")

    def plans(self) -> Sequence[RankPlan]:
        return [self._at_budget(form) for form in form_names(self.task)]

    def _at_budget(self, form: str) -> RankPlan:
        """The plan of the largest fraction within the budget; the smallest one projected if none is."""
        layers = [(options, position_of(options, form)) for options in self.task.space.layers]
        largest = [largest_ranks(options, position) for options, position in layers]

        def plan(share: float) -> RankPlan:
            rows = [
                row_below(*layer, np.asarray(share * top, dtype=np.float64))
                for layer, top in zip(layers, largest, strict=True)
            ]
            return self.task.space.plan(np.array(rows))

        return first_within(self.task, shares(), plan)
