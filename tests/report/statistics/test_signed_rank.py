from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rank_search.report.statistics.signed_rank import FEWEST, least_p, signed_rank_p

# Hamilton's depression scale before and after a tranquilliser: Hollander and Wolfe, Nonparametric Statistical Methods
# (1973), p. 29, as in the examples of R's wilcox.test: V = 40, one-sided p = .01953.
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
# Heights of cross- less self-fertilised Zea mays (Darwin 1876), as in the examples of SciPy's wilcoxon: p = .0413.
MAIZE = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]


def test_published_examples() -> None:
    assert signed_rank_p(BEFORE - AFTER) == pytest.approx(2 * 0.01953, abs=1e-5)
    assert signed_rank_p(MAIZE) == pytest.approx(0.041259765625, rel=1e-12)


def test_without_ties_it_is_the_exact_test_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 7, 20, 45):
        differences = rng.normal(0.3, 1, n)
        expected = stats.wilcoxon(differences, method="exact").pvalue
        assert signed_rank_p(differences) == pytest.approx(float(expected), rel=1e-9)


def test_with_ties_it_counts_all_signs() -> None:
    differences = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, 0.0])
    ranks = stats.rankdata(np.abs(differences[differences != 0]))
    signs = np.array(np.meshgrid(*[[0, 1]] * len(ranks))).reshape(len(ranks), -1)
    sums = ranks @ signs
    observed = ranks[differences[differences != 0] > 0].sum()
    extreme = np.abs(sums - ranks.sum() / 2) >= abs(observed - ranks.sum() / 2) - 1e-9
    assert signed_rank_p(differences) == pytest.approx(extreme.mean())


def test_many_pairs_agree_with_the_normal_approximation() -> None:
    differences = np.random.default_rng(1).normal(0.2, 1, 400)
    assert signed_rank_p(differences) == pytest.approx(
        float(stats.wilcoxon(differences, correction=True, method="approx").pvalue), rel=0.05
    )


def test_three_pairs_cannot_reach_five_per_cent_and_six_can() -> None:
    assert signed_rank_p([1.0, 2.0, 3.0]) == least_p(3) == 0.25
    assert least_p(FEWEST - 1) > 0.05 >= least_p(FEWEST) == signed_rank_p(range(1, FEWEST + 1))


def test_equal_numbers_have_no_p_value() -> None:
    assert math.isnan(signed_rank_p([0.0, 1e-15]))
