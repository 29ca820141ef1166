"""The smallest error that no layer exceeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rank_search.arrays import FloatArray
from rank_search.errors import InfeasibleBudgetError
from rank_search.searching import About, RuleSearcher
from rank_search.searching.option_values import one_of
from rank_search.space import RankPlan
from rank_search.task import Oracles


class Minimax(RuleSearcher):
    """Least largest relative error of a layer within the budget; among plans of equal largest error the least sum.

    With the spectral norm and ``svd_grouped`` it chooses how each layer is split, too, as ALDS does (Liebenwein et al.,
    NeurIPS 2021); with energies it is the single tolerance of PGSVD (arXiv 2510.05544). The optimum is exact: every
    threshold is tried by bisection, and whether any plan meets it is decided by the knapsack. What the budget leaves
    over is spent (ours; the published rules stop at the threshold).

    Args:
        norm: ``spectral`` for ``||W - What||_2 / ||W||_2`` of the unfolding by output channels, the greatest of the
            groups (``sigma_{R+1} / sigma_1`` for an SVD of that unfolding); ``energy`` for
            ``||W - What||^2 / ||W||^2``.
    """

    needs_data: ClassVar[bool] = False
    about: ClassVar[About] = About("data-free", "weights", "ALDS (Liebenwein et al., NeurIPS 2021)", "reconstruction")

    def __init__(self, task: Oracles, *, seed: int, norm: str = "spectral") -> None:
        super().__init__(task, seed=seed)
        self._norm = one_of("norm", norm, ("spectral", "energy"))

    def plans(self) -> Sequence[RankPlan]:
        errors = self.task.relative_errors()
        if self._norm == "spectral":
            errors = [self._spectral(layer, error) for layer, error in enumerate(errors)]
        thresholds = np.unique(np.concatenate([error[np.isfinite(error)] for error in errors]))
        below, enough = -1, len(thresholds) - 1
        best = self._least_sum(errors, np.inf)  # says so if no plan meets the budget
        while enough - below > 1:
            middle = (below + enough) // 2
            try:
                best, enough = self._least_sum(errors, float(thresholds[middle])), middle
            except InfeasibleBudgetError:
                below = middle
        return [best]

    def _least_sum(self, errors: Sequence[FloatArray], threshold: float) -> RankPlan:
        """The plan of least summed error of those within the budget whose every error is at most the threshold."""
        space = self.task.space
        return space.plan(
            space.minimise([np.where(e <= threshold, e, np.inf) for e in errors], self.task.budget).indices
        )

    def _spectral(self, layer: int, relative: FloatArray) -> FloatArray:
        """``||W - What||_2 / ||W||_2`` of every option; inf where there is no fit."""
        dense = self.task.approximation(layer, 0)
        size = spectral_norm(dense)
        found = np.full(len(relative), np.inf)
        for option in np.flatnonzero(np.isfinite(relative)).tolist():
            left = spectral_norm(dense - self.task.approximation(layer, option)) if option else 0.0
            found[option] = left / size if size > 0 else 0.0
        return found


def spectral_norm(weight: Tensor) -> float:
    """The largest singular value of the unfolding by output channels, the greatest of the groups.

    Args:
        weight: canonical, ``[groups, Co / groups, Ci / groups, taps]``, float64.
    """
    matrices = weight.flatten(2)
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.transpose(1, 2)
    squares = torch.linalg.eigvalsh(matrices @ matrices.transpose(1, 2))
    return float(squares[:, -1].max().clamp_min(0).sqrt())
