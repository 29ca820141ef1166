from __future__ import annotations

import pytest

from rank_search.report.statistics.hypervolume import hypervolume


def test_it_is_the_area_of_the_union_of_rectangles() -> None:
    assert hypervolume([(0.5, 0.1)], (1.0, 0.5)) == pytest.approx(0.5 * 0.4)
    two = [(0.5, 0.1), (0.25, 0.3)]
    assert hypervolume(two, (1.0, 0.5)) == pytest.approx(0.5 * 0.4 + 0.25 * 0.2)


def test_what_is_dominated_or_beyond_the_reference_adds_nothing() -> None:
    point = [(0.5, 0.1)]
    assert hypervolume([*point, (0.6, 0.2), (0.2, 0.6), (1.2, 0.0)], (1.0, 0.5)) == pytest.approx(0.2)
    assert hypervolume([(0.5, 0.5)], (1.0, 0.5)) == 0.0


def test_moocores_own_example() -> None:
    """The two-dimensional example of its documentation: 38.0 for these points and the reference (10, 10)."""
    points = [(5.0, 5.0), (4.0, 6.0), (2.0, 7.0), (7.0, 4.0)]
    assert hypervolume(points, (10.0, 10.0)) == pytest.approx(38.0)
