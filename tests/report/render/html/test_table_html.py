from __future__ import annotations

import pytest
from html_tree import cells, tree

from rank_search.report.render.html.table import number_of, table_html
from rank_search.report.tables.table import Column, Table


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("97.8 ± 0.6", "97.8"),
        ("12,345", "12345"),
        ("-0.5", "-0.5"),
        ("1.2e-05", "1.2e-05"),
        ("0.123 [.1 .2]", "0.123"),
        (".25", ".25"),
        ("5 of 7", "5"),
        ("–", None),
        ("dense", None),
        ("", None),
    ],
)
def test_numbers_are_sorted_by_their_value_without_the_interval(cell: str, value: str | None) -> None:
    assert number_of(cell) == value


def test_groups_headers_and_filters_are_marked() -> None:
    columns = (
        Column("searcher", ("a", "b", "c"), numeric=False),
        Column("budget", ("x", "x", "y"), numeric=False),
        Column("kept\nMACs", ("1 ± 2", "–", "3")),
    )
    table = tree(table_html(Table("t", columns, ("1", "1", "2")), "a caption", tools=True))
    head = table.all("thead")[0].all("th")
    assert [cell.attributes.get("data-filter") for cell in head] == ["searcher", "budget", None]
    assert [len(cell.all("br")) for cell in head] == [0, 0, 1]
    assert [row.attributes.get("class") for row in table.all("tbody")[0].all("tr")] == [None, None, "starts"]
    assert [cell.attributes.get("data-value") for cell in table.all("td", class_="number")] == ["1", None, "3"]
    assert cells(table)[0] == ["a", "x", "1 ± 2"]
    (box,) = table.all("div", class_="scroll")
    assert (box.attributes["aria-label"], box.attributes["tabindex"]) == ("a caption", "0")
