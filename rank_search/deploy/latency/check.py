"""How well the tables predict whole networks: the figures to trust them by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau
from torch import nn

from rank_search.arrays import FloatArray
from rank_search.deploy.latency.whole import required_latency, whole_times
from rank_search.space import Budget, RankPlan, RankSpace


@dataclass(frozen=True)
class Check:
    """Predicted and measured times of whole plans, as fractions of the dense network's.

    Args:
        plans: drawn at random over the whole range of MACs that the space reaches.
        predicted, measured: ``[plans]``.
    """

    plans: list[RankPlan]
    predicted: list[float]
    measured: list[float]

    @property
    def error(self) -> float:
        """Mean of ``|predicted / measured - 1|``."""
        return float(np.mean(self._errors))

    def within(self, share: float) -> float:
        """The share of plans whose prediction is off by no more than that."""
        return float(np.mean(self._errors <= share))

    @property
    def tau(self) -> float:
        """Kendall's tau of the two orders; 1 if they are the same."""
        return float(kendalltau(self.predicted, self.measured).statistic)

    @property
    def _errors(self) -> FloatArray:
        errors: FloatArray = np.abs(np.array(self.predicted) / np.array(self.measured) - 1)
        return errors


def check(space: RankSpace, model: nn.Module, plans: int = 30, seed: int = 1) -> Check:
    """Times so many random plans as whole networks and compares them with the tables.

    Args:
        space: with a :class:`Latency` among its metrics.
        model: the dense network.
        plans: how many.
        seed: of the plans; other ones than the calibration's.
    """
    metric = required_latency(space)
    rng = np.random.default_rng(seed)
    least = space.smallest_cost["macs"] / space.dense_cost["macs"]
    drawn = [
        space.random_plan(rng, Budget(macs=float(rng.uniform(min(least * 1.1 + 0.02, 0.95), 1.0))))
        for _ in range(plans)
    ]
    dense, times = whole_times(space, model, drawn)
    predicted = [space.cost(plan)[metric.name] / space.dense_cost[metric.name] for plan in drawn]
    return Check(drawn, predicted, [time / dense for time in times])
