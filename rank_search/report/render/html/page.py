"""The page of a report: what was found, in words, tables and figures, and how to do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rank_search.report.regret.sections import RegretReport
from rank_search.report.render.html.document import ROOM, Part, document
from rank_search.report.render.html.figures import Gallery
from rank_search.report.render.html.markup import Markup, element, joined
from rank_search.report.render.html.table import table_html
from rank_search.report.render.png.palette import looks
from rank_search.report.sections import Report, Section
from rank_search.report.tables.table import Table

LARGEST = 3_000_000
"""Bytes of a page; figures for which there is no room are left out, and the page says so."""
MOST_LINES, MOST_LETTERS = 200, 60_000
"""Failures or remarks, and letters of a text about the run, that a page shows."""


def html_page(report: Report, *, title: str, about: Mapping[str, str], largest: int = LARGEST) -> str:
    """The page of a run.

    Args:
        report: of the run.
        title: of the page: the name of the run.
        about: what else is said of the run, under its headings: the config, versions, a command.
        largest: bytes that the page may have.

    Returns:
        HTML that loads nothing; the same for the same arguments.
    """
    summary = report.summary or _counted(report)
    boards = Part("leaderboards", "Leaderboard", _boards(report))
    after = [
        *_listed("failures", "Failures", report.failures, "cell failed", "cells failed"),
        *_listed("remarks", "Remarks", report.remarks, "remark", "remarks"),
        *_about(about),
    ]
    fixed = sum(len(part.content.encode()) for part in (boards, *after))
    fixed += ROOM
    tables = [_tables(section) for section in report.sections]
    gallery = Gallery(looks(report.searchers), room=largest - fixed - sum(len(part.encode()) for part in tables))
    tasks = []
    for number, (section, others) in enumerate(zip(report.sections, tables, strict=True), 1):
        content = joined([others, gallery.by_kind(section.figures)])
        if not section.figures:
            content = joined([others, element("p", "No finished cell: there is nothing to draw.")])
        tasks.append(Part(f"task-{number}", section.task, content))
    parts = [boards, *tasks, *after]
    return document(title, summary, parts, gallery.colours, _left_out(gallery.left_out))


def regret_page(report: RegretReport, *, title: str, about: Mapping[str, str]) -> str:
    """The page of a benchmark of regret; the arguments are those of :func:`html_page`."""
    tables = joined(table_html(table, table.title, tools=True) for table in report.tables)
    parts = [
        Part("tables", "Regrets", tables),
        *_listed("failures", "Failures", report.failures, "searcher failed somewhere", "searchers failed somewhere"),
        *_about(about),
    ]
    return document(title, report.words, parts, (), Markup())


def _counted(report: Report) -> tuple[str, ...]:
    def many(count: int, noun: str) -> str:
        return f"{count} {noun}{'s' * (count != 1)}"

    said = f"{many(len(report.searchers), 'searcher')} on {many(len(report.sections), 'task')}"
    failed = f"; {many(len(report.failures), 'cell')} failed." if report.failures else "; no cell failed."
    return (said + failed,)


def _boards(report: Report) -> Markup:
    boards = [
        table_html(_first(section), _first(section).title, tools=True) for section in report.sections if section.tables
    ]
    legend = [element("p", paragraph, class_="legend") for paragraph in report.legend]
    return joined([*boards, *legend])


def _first(section: Section) -> Table:
    return section.tables[0]


def _tables(section: Section) -> Markup:
    return joined(table_html(table, table.title, tools=True) for table in section.tables[1:])


def _listed(name: str, heading: str, found: Sequence[str], one: str, many: str) -> list[Part]:
    if not found:
        return []
    items = [element("li", _cell_and_reason(line)) for line in found[:MOST_LINES]]
    if len(found) > MOST_LINES:
        items.append(element("li", f"… and {len(found) - MOST_LINES} more: results.csv has them all"))
    said = element("p", f"{len(found)} {one if len(found) == 1 else many}.")
    return [Part(name, heading, joined([said, element("ul", joined(items), class_="lines")]))]


def _cell_and_reason(line: str) -> Markup:
    cell, sign, reason = line.partition(": ")
    return joined([element("b", cell + sign.strip()), reason]) if sign else element("span", line)


def _about(about: Mapping[str, str]) -> list[Part]:
    found = []
    for number, (heading, said) in enumerate(about.items(), 1):
        cut = len(said) > MOST_LETTERS
        shown = (
            f"{said[:MOST_LETTERS]}\n… {len(said) - MOST_LETTERS} more letters are in the run folder" if cut else said
        )
        code = element("pre", element("code", shown), tabindex="0", role="group", aria_label=heading)
        found.append(Part(f"about-{number}", heading, code))
    return found


def _left_out(stems: Sequence[str]) -> Markup:
    if not stems:
        return Markup()
    names = ", ".join(stems[:20]) + (", …" if len(stems) > 20 else "")
    count = f"{len(stems)} figure{'s' * (len(stems) > 1)}"
    said = f"{count} left out to keep this page small; plots/ has them as PNG: {names}."
    return element("p", said, class_="notice", role="note")
