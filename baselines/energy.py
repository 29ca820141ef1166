"""One threshold of kept energy for all layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rank_search.searching import About, RuleSearcher
from rank_search.searching.within_budget import cheapest, first_within
from rank_search.space import RankPlan


class Energy(RuleSearcher):
    """Every layer at the cheapest option that keeps a share of its energy, the same share everywhere.

    ``||W - What||^2 / ||W||^2 <= threshold``, the smallest threshold whose plan is within the budget. With one form of
    one rank per layer it is the rule that torchprune calls SVD-energy; with several forms (ours) all of them compete.
    """

    needs_data: ClassVar[bool] = False
    about: ClassVar[About] = About(
        "data-free", "weights", "torchprune's SVD-energy (Liebenwein et al., NeurIPS 2021)", "faithful"
    )

    def plans(self) -> Sequence[RankPlan]:
        errors = self.task.relative_errors()
        thresholds = np.unique(np.concatenate([error[np.isfinite(error)] for error in errors]))
        return [
            first_within(
                self.task,
                thresholds.tolist(),
                lambda threshold: cheapest(self.task, [error <= threshold for error in errors], errors),
            )
        ]
