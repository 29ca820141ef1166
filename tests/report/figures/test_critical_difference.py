from __future__ import annotations

from rank_search.report.figures.critical_difference import critical_difference_figure
from rank_search.report.statistics.friedman import Ranking, rank_blocks

RANKING = Ranking({"a": 1.0, "b": 1.8, "c": 2.9}, 12, 0.001, 0.96, ("a", "b"))


def test_groups_are_those_that_nemenyi_does_not_tell_apart() -> None:
    figure = critical_difference_figure(RANKING, "regret", ["late"])
    assert figure is not None
    assert figure.groups == (("a", "b"),)
    assert [figure.alike(name) for name in "abc"] == [("b",), ("a",), ()]
    assert figure.difference_label == "critical difference 0.96"
    assert figure.title == "mean ranks by regret"
    assert "over 12 tasks x budgets: p = 0.001" in figure.notes[0]
    assert figure.notes[1] == "Without a number in every block, and so not ranked: late."


def test_where_friedman_does_not_reject_all_are_one_group() -> None:
    ranking = Ranking({"a": 1.0, "b": 1.8, "c": 2.9}, 4, 0.3, 0.9, ("a", "b"))
    figure = critical_difference_figure(ranking, "regret", [])
    assert figure is not None
    assert figure.groups == (("a", "b", "c"),)
    assert "read no order from the ranks" in figure.notes[1]


def test_too_few_blocks_rank_nobody_and_say_how_many_would() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    figure = critical_difference_figure(
        rank_blocks({name: [place, place] for place, name in enumerate(names)}), "it", []
    )
    assert figure is not None
    assert figure.groups == (names,)
    assert figure.notes == (
        "2 blocks (tasks x budgets) are too few to rank 6 searchers: even the same order in every block would have "
        "Friedman's p = 0.075 and a critical difference of 5.33 between mean ranks that differ by 5 at most. At least "
        "3 blocks are needed.",
        "Read no order from the ranks.",
    )


def test_fewer_than_three_searchers_or_two_blocks_have_no_figure() -> None:
    assert critical_difference_figure(None, "regret", []) is None
    assert critical_difference_figure(rank_blocks({"a": [1.0] * 9, "b": [2.0] * 9}), "regret", []) is None
    assert critical_difference_figure(rank_blocks({"a": [1.0], "b": [2.0], "c": [3.0]}), "regret", []) is None
