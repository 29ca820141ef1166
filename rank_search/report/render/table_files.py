"""A file per table of a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rank_search.files import write_text
from rank_search.report.sections import Report
from rank_search.report.stems import stem_of, told_apart
from rank_search.report.tables.table import Table


def write_tables(report: Report, folder: Path, ending: str, text: Callable[[Table], str]) -> list[Path]:
    """Writes every table under its name.

    Args:
        report: whose tables.
        folder: that exists.
        ending: of the files, without the dot.
        text: what a file holds.
    """
    tables = report.all_tables
    stems = told_apart(stem_of(table.name or "table") for table in tables)
    paths = [folder / f"{stem}.{ending}" for stem in stems]
    for path, table in zip(paths, tables, strict=True):
        write_text(path, text(table))
    return paths
