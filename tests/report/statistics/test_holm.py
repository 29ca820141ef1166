from __future__ import annotations

import math

import numpy as np
import pytest

from rank_search.report.statistics.holm import holm


def test_the_adjusted_values_of_rs_p_adjust() -> None:
    """``p.adjust(c(.01, .04, .03, .005), "holm")``."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_test_that_was_not_made_does_not_count() -> None:
    found = holm([0.01, math.nan, 0.02])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.02)
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


def test_where_nothing_differs_one_of_many_tests_is_wrong_in_five_of_a_hundred_families() -> None:
    families = np.random.default_rng(0).random((4000, 10))
    wrong = np.mean([min(holm(family)) <= 0.05 for family in families])
    assert wrong == pytest.approx(1 - (1 - 0.005) ** 10, abs=0.012)
