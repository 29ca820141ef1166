"""Interpolated errors: exact at knots, falling between them, never below what the next larger knot allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rank_search.space.forms.estimate import Estimate

RANKS = np.arange(1, 61, dtype=np.int64)
KNOTS = np.array([1, 3, 8, 20, 40, 60], dtype=np.int64)


@given(st.lists(st.floats(0, 1e6), min_size=6, max_size=6))
def test_the_errors_fall_between_knots_and_stay_between_their_neighbours(values: list[float]) -> None:
    errors = np.array(sorted(values, reverse=True))
    found = Estimate.between(RANKS, KNOTS, errors, 90)
    at = np.searchsorted(RANKS, KNOTS)
    assert found.measured.sum() == len(KNOTS)
    assert found.measured[at].all()
    np.testing.assert_array_equal(found.errors[at], errors)
    np.testing.assert_array_equal(found.floors[at], errors)
    assert (np.diff(found.errors) <= 1e-9 * errors[0]).all()
    assert (found.floors <= found.errors).all()
    place = np.searchsorted(KNOTS, RANKS)
    assert (found.floors >= errors[place]).all()
    assert (found.errors <= errors[np.maximum(place - 1, 0)]).all()


def test_a_fit_that_came_out_worse_than_one_of_smaller_rank_does_not_raise_the_curve() -> None:
    errors = np.array([10.0, 8.0, 5.0, 6.0, 2.0, 1.0])
    found = Estimate.between(RANKS, KNOTS, errors, 90)
    np.testing.assert_array_equal(found.errors[found.measured], errors)
    assert (found.errors[8:19] <= 5.0).all()
    assert (found.floors[8:19] <= 5.0).all()


def test_the_floor_is_the_next_larger_knot_and_what_its_missing_components_must_hold() -> None:
    errors = np.array([10.0, 8.0, 5.0, 3.0, 2.0, 1.0])
    found = Estimate.between(RANKS, KNOTS, errors, 100)
    assert found.floors[30 - 1] == pytest.approx(2.0 / (1 - 10 / 100))


def test_slack_lowers_floors_and_nothing_else() -> None:
    errors = np.array([10.0, 8.0, 5.0, 3.0, 2.0, 0.1])
    plain, slack = (Estimate.between(RANKS, KNOTS, errors, 100, slack) for slack in (0.0, 0.5))
    np.testing.assert_array_equal(slack.errors, plain.errors)
    between = ~plain.measured
    np.testing.assert_allclose(slack.floors[between], np.maximum(plain.floors[between] - 0.5, 0))
    np.testing.assert_array_equal(slack.floors[~between], errors)


def test_ranks_that_are_all_knots_are_exact() -> None:
    found = Estimate.between(KNOTS[[4, 1]], KNOTS, np.array([6.0, 5, 4, 3, 2, 1]), 90)
    assert found.measured.all()
    assert found.errors.tolist() == found.floors.tolist() == [2.0, 5.0]
