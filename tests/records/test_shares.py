"""Intervals of shares, against Wilson's formula."""

from __future__ import annotations

import math

import pytest

from rank_search.records.shares import interval_text, share_interval

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


@pytest.mark.parametrize(("right", "samples"), [(1, 13), (12, 13), (0, 13), (13, 13), (2730, 3000), (1, 1)])
def test_it_is_wilsons(right: int, samples: int) -> None:
    share = right / samples
    middle = (share + Z**2 / (2 * samples)) / (1 + Z**2 / samples)
    half = Z / (1 + Z**2 / samples) * math.sqrt(share * (1 - share) / samples + Z**2 / (4 * samples**2))
    found = share_interval("accuracy", share, samples)
    assert found == pytest.approx((middle - half, middle + half), abs=1e-12)


def test_a_share_of_few_is_wide_and_said_in_percent() -> None:
    assert interval_text("agreement", 12 / 13, 13) == "66.7% to 98.6%"  # Wilson (1927) by hand: .6669, .9863


@pytest.mark.parametrize(
    ("measure", "value", "samples"),
    [("cosine", 0.5, 10), ("miou", 0.5, 10), ("accuracy", None, 10), ("agreement", 0.123, 10), ("accuracy", 0.5, 0)],
)
def test_what_is_no_share_of_samples_has_none(measure: str, value: float | None, samples: int) -> None:
    """Agreement of .123 on 10 samples is of their places, which are not independent."""
    assert share_interval(measure, value, samples) is None
    assert interval_text(measure, value, samples) == ""
