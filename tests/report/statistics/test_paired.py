from __future__ import annotations

import math

import pytest

from rank_search.errors import InvalidInputError
from rank_search.report.statistics.paired import paired

# Hours of sleep that two drugs added to ten patients: Student, Biometrika 1908, as in R's data set "sleep".
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_students_own_example() -> None:
    """R: t = -4.0621, p = .002833, 95 % interval -2.4598858 to -0.7001142, mean -1.58; signed ranks V = 0, 9 pairs."""
    found = paired(FIRST, SECOND)
    assert found.mean == pytest.approx(-1.58)
    assert found.mean - found.half_width == pytest.approx(-2.4598858, abs=1e-6)
    assert found.mean + found.half_width == pytest.approx(-0.7001142, abs=1e-6)
    assert found.t_p == pytest.approx(0.002833, abs=1e-6)
    assert (found.n, found.wins, found.ties, found.losses) == (10, 0, 1, 9)
    assert found.rank_p == pytest.approx(2 / 2**9)


def test_where_lower_is_better_wins_are_losses_and_differences_stay() -> None:
    found = paired(FIRST, SECOND, higher=False)
    assert (found.wins, found.ties, found.losses) == (9, 1, 0)
    assert found.mean == pytest.approx(-1.58)


def test_numbers_that_differ_in_how_they_were_summed_are_ties() -> None:
    found = paired([0.1 + 0.2, 1.0], [0.3, 1.0])
    assert (found.wins, found.ties, found.losses) == (0, 2, 0)
    assert (found.mean, found.half_width) == (0.0, 0.0)
    assert math.isnan(found.t_p)
    assert math.isnan(found.rank_p)


def test_one_pair_has_no_interval_and_none_has_no_mean() -> None:
    one = paired([2.0], [1.0])
    assert (one.mean, one.wins, one.rank_p) == (1.0, 1, 1.0)
    assert math.isnan(one.half_width)
    assert math.isnan(one.t_p)
    none = paired([], [])
    assert none.n == 0
    assert math.isnan(none.mean)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([math.nan], [1.0])])
def test_what_cannot_be_paired_is_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="cannot pair"):
        paired(first, second)
