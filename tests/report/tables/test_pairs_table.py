from __future__ import annotations

import math

import pytest

from rank_search.report.measure import Measure
from rank_search.report.pairs import Pair
from rank_search.report.statistics.paired import Paired
from rank_search.report.tables.pairs import p_text, p_words, pairs_over_blocks_table, pairs_table
from rank_search.report.tables.table import Table

ACCURACY = Measure("accuracy", "higher", "%")


def pair(first: str, second: str, mean: float = 0.0123, t_p: float = 0.04) -> Pair:
    return Pair("macs=0.5", first, second, Paired(mean, 0.004, 3, 2, 1, 0, t_p / 2, 0.5), t_p, math.nan)


def column(table: Table, header: str) -> tuple[str, ...]:
    return next(column.cells for column in table.columns if column.header.split("\n")[0] == header)


def test_differences_are_signed_points_with_their_interval() -> None:
    table = pairs_table("digits", [pair("a", "b"), pair("b", "c", -0.01)], ACCURACY)
    assert column(table, "difference") == ("+1.2 ± 0.4", "-1.0 ± 0.4")
    assert column(table, "wins/ties/") == ("2/1/0", "2/1/0")
    assert column(table, "p, t") == ("0.04", "0.04")
    assert column(table, "p, ranks") == ("–", "–")
    assert table.columns[3].header == "difference\n(points)"
    assert (table.title, table.name, table.groups) == ("digits: pairs", "pairs_digits", ("macs=0.5", "macs=0.5"))
    assert table.numbers is not None
    assert table.numbers.loc[0, ["difference", "t_p", "t_p_holm"]].tolist() == [0.0123, 0.02, 0.04]


def test_of_many_searchers_the_table_has_the_pairs_of_the_first_and_the_numbers_all() -> None:
    names = "abcdefg"
    pairs = [pair(first, second) for place, first in enumerate(names) for second in names[place + 1 :]]
    table = pairs_table("digits", pairs, ACCURACY)
    assert column(table, "first") == ("a",) * 6
    assert table.title == "digits: pairs with the first"
    assert table.numbers is not None
    assert len(table.numbers) == 21


def test_over_blocks_there_is_no_difference() -> None:
    table = pairs_over_blocks_table([pair("a", "b")])
    assert [column.header.split("\n")[0] for column in table.columns] == [
        *("first", "second", "blocks", "wins/ties/", "p, ranks")
    ]
    assert table.numbers is not None
    assert "difference" not in table.numbers.columns


@pytest.mark.parametrize(
    ("p", "text", "words"),
    [
        (0.0004, "<0.001", "p < 0.001"),
        (0.0234, "0.023", "p = 0.023"),
        (0.25, "0.25", "p = 0.25"),
        (math.nan, "–", "p is not defined"),
    ],
)
def test_p_values_are_never_zero(p: float, text: str, words: str) -> None:
    assert (p_text(p), p_words(p)) == (text, words)
