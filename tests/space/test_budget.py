"""Budgets: fractions, absolute numbers, their limits, and every bad value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rank_search.errors import BudgetError
from rank_search.space.budget import Budget

DENSE = {"params": 1001, "macs": 40_000}


@pytest.mark.parametrize(
    ("bounds", "limits"),
    [
        ({"macs": 0.25}, {"macs": 10_000}),
        ({"params": 0.5}, {"params": 500}),  # 500.5, rounded down: a budget is an upper bound
        ({"params": 0.999}, {"params": 999}),  # 999.999
        ({"macs": 1.0}, {"macs": 40_000}),
        ({"macs": 1}, {"macs": 40_000}),
        ({"params": 1e-9}, {"params": 0}),
        ({"params": 2}, {"params": 2}),
        ({"params": 200_000}, {"params": 200_000}),
        ({"macs": 0.5, "params": 700}, {"params": 700, "macs": 20_000}),
        ({"macs": np.float64(0.5)}, {"macs": 20_000}),
    ],
)
def test_limits_are_whole_numbers_a_fraction_of_the_dense_network_rounded_down(
    bounds: dict[str, float], limits: dict[str, int]
) -> None:
    found = Budget(**bounds).limits(DENSE)
    assert found == limits
    assert all(type(limit) is int for limit in found.values())


@pytest.mark.parametrize(
    "bound", [0, 0.0, -1, -0.5, float("nan"), float("inf"), float("-inf"), 1.5, 2.0, 1e9, True, False, "0.5", None]
)
@pytest.mark.parametrize("metric", ["params", "macs", "bytes"])
def test_a_bad_bound_is_refused_with_the_metric_and_the_value(metric: str, bound: Any) -> None:
    with pytest.raises(BudgetError) as caught:
        Budget(**{metric: bound})
    assert f"{metric}={bound!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_of_four_hundred_digits_is_refused() -> None:
    with pytest.raises(BudgetError):
        Budget(macs=10**400)


def test_a_float_above_one_is_refused_with_the_whole_number_to_write() -> None:
    with pytest.raises(BudgetError, match=r"macs=200000\b"):
        Budget(macs=2e5)


def test_no_metric_and_an_unknown_metric_are_refused_with_the_known_ones() -> None:
    with pytest.raises(BudgetError, match="params, macs"):
        Budget()
    with pytest.raises(BudgetError, match="unknown budget metric 'flops'; known: params, macs"):
        Budget(flops=0.5)


def test_budgets_are_values_and_the_order_of_metrics_does_not_matter() -> None:
    budget = Budget(macs=0.5, params=700)
    assert budget == Budget(params=700, macs=0.5)
    assert hash(budget) == hash(Budget(params=700, macs=0.5))
    assert budget != Budget(macs=0.5)
    assert budget.metrics == ("params", "macs")
    assert budget.to_dict() == {"params": 700, "macs": 0.5}
    assert Budget(**budget.to_dict()) == budget
    assert str(budget) == "params=700,macs=0.5"
