from __future__ import annotations

import math

import pytest
from scipy import stats

from rank_search.report.statistics.friedman import (
    Ranking,
    can_tell,
    critical_difference,
    fewest_blocks,
    least_p,
    rank_blocks,
)

# AUC of four variants of C4.5 on fourteen data sets: Demsar, JMLR 7 (2006), table 6.
AUC = {
    "c45": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
    "m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
    "cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.975, 0.946],
    "m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.9749, 0.970],
}


def demsar() -> Ranking:
    found = rank_blocks({name: [-value for value in values] for name, values in AUC.items()})
    assert found is not None
    return found


def test_demsars_example() -> None:
    """Mean ranks 3.143, 2.000, 2.893, 1.964; F = 3.69 with 3 and 39 degrees of freedom; critical difference 1.25."""
    found = demsar()
    assert found.ranks == pytest.approx({"m+cf": 1.964, "m": 2.0, "cf": 2.893, "c45": 3.143}, abs=5e-4)
    assert list(found.ranks) == ["m+cf", "m", "cf", "c45"]
    assert found.blocks == 14
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.not_worse == ("m+cf", "m", "cf", "c45")  # 3.143 - 1.964 = 1.18
    assert found.groups == (("m+cf", "m", "cf", "c45"),)
    assert 0.01 < found.iman_davenport_p < 0.05  # F(3, 39) is 2.85 at 5 %, 4.33 at 1 %
    assert found.p < 0.05


def test_groups_are_the_longest_runs_and_may_overlap() -> None:
    found = Ranking({"a": 1.0, "b": 1.8, "c": 2.4, "d": 5.0}, 10, 0.01, 1.0, ("a", "b"))
    assert found.groups == (("a", "b"), ("b", "c"))
    assert Ranking({"a": 1.0, "b": 4.0}, 10, 0.01, 1.0, ("a",)).groups == ()


def test_the_same_order_in_every_block_is_told() -> None:
    found = rank_blocks({name: [place + block for block in range(12)] for place, name in enumerate("abc")})
    assert found is not None
    assert found.iman_davenport_p == 0.0
    assert found.p == pytest.approx(math.exp(-12))  # chi2 = N (k - 1) = 24 with two degrees of freedom
    assert found.not_worse == ("a",)


def test_two_searchers_or_one_block_have_no_test() -> None:
    two = rank_blocks({"a": [1.0, 2.0], "b": [2.0, 3.0]})
    one = rank_blocks({"a": [1.0], "b": [2.0], "c": [3.0]})
    assert two is not None
    assert one is not None
    assert math.isnan(two.p)
    assert math.isnan(one.p)
    assert math.isnan(one.iman_davenport_p)
    assert rank_blocks({"a": [1.0]}) is None
    assert rank_blocks({"a": [], "b": []}) is None


def test_equal_numbers_everywhere_have_equal_ranks_and_no_test() -> None:
    found = rank_blocks({name: [1.0, 1.0] for name in "abc"})
    assert found is not None
    assert set(found.ranks.values()) == {2.0}
    assert math.isnan(found.p)
    assert found.critical_difference == critical_difference(3, 2)


@pytest.mark.parametrize(("searchers", "blocks"), [(3, 2), (3, 3), (6, 2), (6, 3), (10, 2)])
def test_the_least_p_is_that_of_the_same_order_in_every_block(searchers: int, blocks: int) -> None:
    table = [[place + 10.0 * block for block in range(blocks)] for place in range(searchers)]
    assert least_p(searchers, blocks) == pytest.approx(float(stats.friedmanchisquare(*table).pvalue))


def test_two_blocks_rank_nobody_three_rank_three_or_six() -> None:
    """Tabled q at 5 %: 1.960, 2.343, 2.850, 3.164 for 2, 3, 6, 10 searchers (Demsar 2006, table 5)."""
    assert least_p(6, 2) == pytest.approx(0.0752, abs=5e-5)
    assert critical_difference(6, 2) == pytest.approx(2.850 * math.sqrt(6 * 7 / 12), abs=1e-2)  # 5.33 of 5 at most
    assert not can_tell(6, 2)
    assert can_tell(6, 3)  # p .010, 2.850 sqrt(42 / 18) = 4.35 of 5
    assert not can_tell(3, 2)  # exp(-2) = .135
    assert can_tell(3, 3)  # exp(-3) = .0498, 2.343 sqrt(12 / 18) = 1.91 of 2
    assert least_p(10, 2) < 0.05
    assert not can_tell(10, 2)  # 3.164 sqrt(110 / 12) = 9.58 of 9
    assert [fewest_blocks(searchers) for searchers in (2, 3, 6, 10)] == [4, 3, 3, 3]  # 1.960 / sqrt(4) < 1
