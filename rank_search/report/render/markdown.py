"""A report as Markdown, with tables as GitHub has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rank_search.files import write_text
from rank_search.report.sections import Report
from rank_search.report.tables.table import Table

SPECIAL = re.compile(r"([\\`*_{}\[\]|#~])")


def write_markdown(report: Report, folder: Path) -> list[Path]:
    """Writes ``report.md``: the summary, then every table, then what they mean and what failed."""
    path = folder / "report.md"
    write_text(path, markdown_of(report))
    return [path]


def markdown_of(report: Report) -> str:
    """The whole text."""
    return "\n".join(_lines(report)) + "\n"


def markdown_table(table: Table) -> str:
    """One table without its title; a header of two lines becomes one."""
    rows = zip(*(column.cells for column in table.columns), strict=True)
    return "\n".join(
        [
            _row([column.header for column in table.columns]),
            f"|{'|'.join('---:' if column.numeric else ':---' for column in table.columns)}|",
            *map(_row, rows),
        ]
    )


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    plain = SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escaped(report.title) or 'Report'}"
    yield from _list("Summary", report.summary)
    for section in report.sections:
        yield from ("", f"## {escaped(section.task)}")
        yield from _tables(section.tables)
    if report.tables:
        yield from ("", "## All tasks")
        yield from _tables(report.tables)
    yield from _list("Legend", report.legend)
    yield from _list("Failures", report.failures)
    yield from _list("Remarks", report.remarks)


def _tables(tables: Sequence[Table]) -> Iterator[str]:
    for table in tables:
        yield from ("", f"**{escaped(table.title)}**", "", markdown_table(table))


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"## {title}", "")
        yield from (f"- {escaped(line)}" for line in lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"
