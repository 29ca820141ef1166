from __future__ import annotations

import math

import numpy as np
import pytest

from rank_search.errors import InvalidInputError
from rank_search.report.statistics import mean_interval


@pytest.mark.parametrize(
    (
        "values",
        "quantile",
    ),  # the 0.975 quantiles of Student's t for 1, 2, 4 and 9 degrees of freedom, from printed tables
    [
        ([1.0, 3.0], 12.706205),
        ([0.90, 0.92, 0.97], 4.302653),
        ([5.0, 1.0, 4.0, 2.0, 3.0], 2.776445),
        (list(range(10)), 2.262157),
    ],
)
def test_half_width_is_the_t_quantile_times_the_standard_error(values: list[float], quantile: float) -> None:
    interval = mean_interval(values)
    n = len(values)
    mean = sum(values) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    assert interval.n == n
    assert interval.mean == pytest.approx(mean)
    assert interval.half_width == pytest.approx(quantile * deviation / math.sqrt(n), rel=1e-6)


def test_interval_of_three_seeds_covers_the_mean_in_95_of_100_draws_where_a_bootstrap_covers_75() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    intervals = [mean_interval(draw) for draw in draws]
    covered = np.mean([abs(interval.mean) <= interval.half_width for interval in intervals])
    # With 3 values the 2.5 % quantile of the bootstrap means is the least value (probability 1/27), so it ends there.
    bootstrap = np.mean((draws.min(axis=1) <= 0) & (draws.max(axis=1) >= 0))
    assert covered == pytest.approx(0.95, abs=0.012)
    assert bootstrap == pytest.approx(0.75, abs=0.025)


def test_one_value_has_no_half_width() -> None:
    interval = mean_interval([0.5])
    assert (interval.mean, interval.n) == (0.5, 1)
    assert math.isnan(interval.half_width)


def test_equal_values_have_half_width_zero() -> None:
    assert mean_interval([0.5, 0.5, 0.5]).half_width == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(InvalidInputError, match=rf"3 values: number 2 is {bad}"):
        mean_interval([0.1, bad, 0.3])


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
