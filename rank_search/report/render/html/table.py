"""A table as HTML: caption, headers with a scope, numbers with the value that they are sorted by."""

from __future__ import annotations

import re

from rank_search.report.render.html.markup import Markup, element, joined, lines
from rank_search.report.tables.explanations import explained
from rank_search.report.tables.table import MIDDLE, Table

_VALUE = re.compile(r"[-+−]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")
FILTERED = ("searcher", "budget")
FEW = 3
"""Columns that would stand too far apart in a table as wide as the page."""


def explained_table(table: Table) -> Markup:
    """A table with its title above and, to be opened, what its columns say below; it can be sorted and filtered."""
    found = explained(table)
    if not found:
        return table_html(table, table.title, tools=True)
    terms = joined(joined([element("dt", name), element("dd", said)]) for name, said in found)
    below = element("details", element("summary", "What the columns say"), element("dl", terms), class_="columns")
    return joined([table_html(table, table.title, tools=True), below])


def table_html(table: Table, caption: str, *, tools: bool = False) -> Markup:
    """A table in a box of its own, which scrolls sideways where there is no room.

    Args:
        table: as a value.
        caption: above it.
        tools: whether it can be sorted and, by searcher and budget, be filtered.
    """
    names = [" ".join(column.header.split()) for column in table.columns]
    head = [
        element(
            "th",
            lines(column.header.strip()),
            scope="col",
            class_="number" if column.numeric else None,
            data_filter=name if tools and name in FILTERED else None,
        )
        for column, name in zip(table.columns, names, strict=True)
    ]
    rows = []
    for place, cells in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        starts = place > 0 and table.groups[place] != table.groups[place - 1]
        rows.append(
            element(
                "tr",
                *(_cell(cell, table.columns[n].numeric, n == 0) for n, cell in enumerate(cells)),
                class_="starts" if starts else None,
            )
        )
    return element(
        "div",
        element(
            "table",
            element("caption", element("span", caption)),
            element("thead", element("tr", *head)),
            element("tbody", joined(rows)),
            class_=" ".join(filter(None, ["tools" * tools, "few" * (len(names) <= FEW)])) or None,
        ),
        class_="scroll",
        role="group",
        aria_label=caption,
        tabindex="0",
    )


def number_of(cell: str) -> str | None:
    """The value that a cell of numbers is sorted by: its first number, without its interval; None if it has none."""
    found = _VALUE.match(cell.strip())
    return found[0].replace(",", "").replace("−", "-").removeprefix("+") if found else None


def _cell(cell: str, numeric: bool, first: bool) -> Markup:
    if first:
        return element("th", cell, scope="row", class_="number" if numeric else None)
    if not numeric:
        return element("td", cell)
    mean, sign, half = cell.partition(MIDDLE)
    shown = element("span", sign + half, class_="half") if sign else ""
    return element("td", mean, shown, class_="number", data_value=number_of(cell))
