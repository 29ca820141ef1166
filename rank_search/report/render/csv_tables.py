"""The numbers behind every table, in full precision, as CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rank_search.report.render.table_files import write_tables
from rank_search.report.sections import Report
from rank_search.report.tables.table import Table


def write_csv(report: Report, folder: Path) -> list[Path]:
    """Writes a ``.csv`` per table: fractions as fractions, an empty field where there is no number."""
    return write_tables(report, folder, "csv", csv_of)


def csv_of(table: Table) -> str:
    """The numbers of a table; its cells where it has none."""
    if table.numbers is not None:
        return str(table.numbers.to_csv(index=False, lineterminator="\n"))
    cells = {" ".join(column.header.split()): list(column.cells) for column in table.columns}
    return str(pd.DataFrame(cells).to_csv(index=False, lineterminator="\n"))
