from __future__ import annotations

import math

import numpy as np
import pytest

from rank_search.report.measure import Measure

ACCURACY = Measure("accuracy", "higher", "%")
RMSE = Measure("rmse", "lower", "")


def test_fractions_read_in_percent_and_others_as_they_are() -> None:
    np.testing.assert_allclose(ACCURACY.shown(np.array([0.5, 0.973])), [50.0, 97.3])
    np.testing.assert_array_equal(RMSE.shown(np.array([0.5, 97.3])), [0.5, 97.3])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5000"), (52.1, "52.10"), (9.99996, "10.00"), (1234.4, "1234"), (-3.0, "-3.000"), (0.0, "0.000")],
)
def test_other_units_have_four_significant_digits(value: float, text: str) -> None:
    assert RMSE.text(value) == text


def test_percent_have_one_decimal() -> None:
    assert ACCURACY.text(0.97349) == "97.3"
    assert ACCURACY.half_width_text(0.0062) == "0.6"


def test_what_is_not_known_is_a_dash_and_has_no_half_width() -> None:
    assert ACCURACY.text(math.nan) == RMSE.text(math.nan) == "–"
    assert RMSE.half_width_text(math.nan) == ""
