"""The plans of all cells of a task, of which the page shows the one that is chosen, and all without its script."""

from __future__ import annotations

from rank_search.report.render.html.markup import Markup, element, joined, lines
from rank_search.report.tables.table import Table

HEADING = "Ranks of any cell"


def plans_html(table: Table, room: int) -> Markup:
    """The table under a heading, as many of its cells as there is room for; the others are counted.

    Args:
        table: as ``plans_table`` gives it: a row per layer, a column per cell.
        room: bytes that it may take.
    """
    layers, *cells = table.columns
    head = [element("th", layers.header.strip(), scope="col")]
    rows = [[element("th", layer, scope="row")] for layer in layers.cells]
    size = sum(len(part.encode()) for part in (*head, *(row[0] for row in rows)))
    shown = 0
    for column in cells:
        budget, _, of_budget = column.header.partition("\n")
        title = element("th", lines(column.header), scope="col", data_group=budget, data_column=of_budget)
        entries = [element("td", text) for text in column.cells]
        size += len(title.encode()) + sum(len(entry.encode()) for entry in entries)
        if size > room:
            break
        shown += 1
        head.append(title)
        for row, entry in zip(rows, entries, strict=True):
            row.append(entry)
    said = Markup()
    if shown < len(cells):
        left = f"{len(cells) - shown} of {len(cells)} cells left out to keep this page small: see plan.json in cells/."
        said = element("p", left, class_="legend")
    if not shown:
        return joined([element("h3", HEADING), said])
    made = element(
        "table",
        element("caption", element("span", table.title)),
        element("thead", element("tr", *head)),
        element("tbody", joined(element("tr", *row) for row in rows)),
        class_="choose",
    )
    box = element("div", made, class_="scroll", role="group", aria_label=table.title, tabindex="0")
    return joined([element("h3", HEADING), box, said])
