"""A measured table of what each layer alone costs the loss, cut at one score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rank_search.arrays import FloatArray, IntArray
from rank_search.searching import About, RuleSearcher
from rank_search.searching.option_values import whole
from rank_search.searching.within_budget import bounded_costs, cheapest, first_within
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .single_layer import frontier, probed


class Sensitivity(RuleSearcher):
    """Every layer at the cheapest option whose measured loss, alone in the dense network, is below a common score.

    The greedy selection of AIMET and of ENC (Kim et al., CVPR 2019), and with a sorted table ASVD's search
    (arXiv 2312.05821). Ours: of every layer ``levels`` options are measured, evenly spaced in cost on its frontier of
    cost and weight error over all forms, and as probes of the dense network, because a plan that changes one layer is
    over the budget. Options that were not measured are not chosen; if no choice of measured ones meets the budget, the
    cheapest of them are projected onto it.

    Args:
        levels: options measured per layer.
        samples: labelled training samples of each measurement.
    """

    about: ClassVar[About] = About(
        "data-aware", "labels", "AIMET; ENC (Kim et al., CVPR 2019); ASVD (arXiv 2312.05821)", "reconstruction"
    )

    def __init__(self, task: Oracles, *, seed: int, levels: int = 8, samples: int = 256) -> None:
        super().__init__(task, seed=seed)
        self._levels, self._samples = whole("levels", levels, 1), whole("samples", samples, 2)

    def plans(self) -> Sequence[RankPlan]:
        scores = self.scores()
        known = np.unique(np.concatenate([score[np.isfinite(score)] for score in scores]))
        return [
            first_within(
                self.task,
                [-np.inf, *known.tolist()],
                lambda threshold: cheapest(self.task, [score <= threshold for score in scores], scores),
            )
        ]

    def scores(self) -> list[FloatArray]:
        """The loss with one layer at an option, an array ``[n]`` per layer; -inf for dense, inf if not measured."""
        batch = self.task.fixed_batch(self._samples)
        found = []
        costs, errors = bounded_costs(self.task), self.task.relative_errors()
        for layer, (cost, error) in enumerate(zip(costs, errors, strict=True)):
            score = np.full(len(error), np.inf)
            score[0] = -np.inf
            for option in self._measured(cost, error).tolist():
                outputs = probed(self.task, layer, option, batch.inputs)
                loss = float(self.task.objective.loss(outputs, batch))
                score[option] = loss if np.isfinite(loss) else np.inf
            found.append(score)
        return found

    def _measured(self, cost: FloatArray, error: FloatArray) -> IntArray:
        """The options of a layer that are measured: on the frontier, cheaper than dense, evenly spaced in cost."""
        rows = frontier(cost, error, np.flatnonzero(cost < cost[0]))
        wanted = np.linspace(cost[rows].min(initial=0), cost[rows].max(initial=0), self._levels)
        return rows[np.unique(np.abs(cost[rows][None] - wanted[:, None]).argmin(1))] if len(rows) else rows
