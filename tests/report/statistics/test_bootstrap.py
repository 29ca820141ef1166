from __future__ import annotations

import math

import numpy as np
import pytest

from rank_search.errors import InvalidInputError
from rank_search.report.statistics.bootstrap import bootstrap_interval
from rank_search.report.statistics.interval import mean_interval


def test_of_two_values_it_is_both() -> None:
    """The means of resamples are a, (a + b) / 2 and b with chances 1/4, 1/2, 1/4; nothing is skewed."""
    assert bootstrap_interval([1.0, 3.0]) == pytest.approx((1.0, 3.0))


def test_of_many_normal_values_it_is_students() -> None:
    values = np.random.default_rng(0).normal(5, 2, 300)
    interval = mean_interval(values)
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(interval.mean - interval.half_width, abs=0.15 * interval.half_width)
    assert high == pytest.approx(interval.mean + interval.half_width, abs=0.15 * interval.half_width)


def test_it_leans_towards_the_long_tail() -> None:
    """BCa of a mean shifts by the skewness: of exponential values the upper half is the longer one."""
    values = np.random.default_rng(0).exponential(size=40)
    low, high = bootstrap_interval(values)
    assert high - values.mean() > 1.1 * (values.mean() - low)


def test_of_three_seeds_it_is_narrower_than_students() -> None:
    values = [0.90, 0.92, 0.97]
    low, high = bootstrap_interval(values)
    assert 0.90 <= low < high <= 0.97 + 1e-12
    assert high - low < mean_interval(values).half_width


def test_it_repeats() -> None:
    values = np.random.default_rng(3).random(8)
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_one_value_has_none_and_equal_values_are_their_own() -> None:
    assert all(map(math.isnan, bootstrap_interval([0.5])))
    assert bootstrap_interval([0.5] * 3) == (0.5, 0.5)


@pytest.mark.parametrize("bad", [[], [0.1, math.nan]])
def test_what_cannot_be_resampled_is_refused(bad: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="cannot resample"):
        bootstrap_interval(bad)
