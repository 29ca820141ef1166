"""The contract of a metric as tests."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from rank_search.errors import InfeasibleBudgetError
from rank_search.space import Budget, RankSpace
from rank_search.space.metrics.metric import Metric, MetricSpec, checked_number, checked_options, make_metrics
from rank_search.testing.small_task import IMAGE, SmallNet

FORMS = ("tucker2", "svd_spatial", "svd")


class MetricContract:
    """What every metric must keep. Set ``metric``.

    Attributes:
        metric: a registered name, ``module:Class``, or a metric.
    """

    metric: ClassVar[MetricSpec]

    def made(self) -> Metric:
        """The metric."""
        return make_metrics([self.metric])[-1] if self.metric not in ("params", "macs") else _named(str(self.metric))

    def space(self) -> RankSpace:
        """A small space that counts the metric."""
        return RankSpace.from_model(self.network(), self.example(), FORMS, metrics=[self.metric])

    def network(self) -> SmallNet:
        """A small network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return SmallNet().eval()

    def example(self) -> torch.Tensor:
        """An input of it."""
        return torch.zeros(1, *IMAGE)

    def test_costs_of_options_are_whole_numbers_from_0_one_for_each(self) -> None:
        metric = self.made()
        for options in self.space().layers:
            for position, form in enumerate(options.forms):
                ranks = options.ranks_of(position)
                assert checked_options(metric, options.layer, form, ranks).shape == (len(ranks),)
                assert len(checked_options(metric, options.layer, form, ranks[:0])) == 0
            assert checked_number(metric, metric.dense(options.layer)) >= 0

    def test_what_the_tables_predict_is_what_a_finished_network_measures(self) -> None:
        metric, space, network = self.made(), self.space(), self.network()
        if not metric.exact:
            pytest.skip("the metric says that its measurement is not exact")
        rng = np.random.default_rng(0)
        for _ in range(5):
            plan = space.random_plan(rng, Budget(params=0.8))
            small = space.compress(network, plan)
            assert metric.measure(small, self.example()) == space.cost(plan)[metric.name]
        assert metric.measure(network, self.example()) == space.dense_cost[metric.name]

    def test_a_budget_of_it_is_met(self) -> None:
        metric, space = self.made(), self.space()
        if metric.per_unit != 1:
            pytest.skip("absolute budgets are in other units")
        least, dense = space.smallest_cost[metric.name], space.dense_cost[metric.name]
        budget = Budget(**{metric.name: (least + dense) // 2})
        plan = space.plan(space.minimise(space.relative_errors(), budget).indices)
        assert space.admit(plan, budget)[metric.name] <= (least + dense) // 2
        if least > 2:
            with pytest.raises(InfeasibleBudgetError, match=metric.name):
                space.require_feasible(Budget(**{metric.name: least - 1}))


def _named(name: str) -> Metric:
    return next(metric for metric in make_metrics() if metric.name == name)
