"""The page of a report: what was found, in words, tables and figures, and how to do it again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files

from rank_search.report.regret.sections import RegretReport
from rank_search.report.render.html.colours import HEAT_FILTER, INK, SURFACE, variables
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
    boards = _Part("leaderboards", "Leaderboard", _boards(report))
    after = [
        *_listed("failures", "Failures", report.failures, "cell failed", "cells failed"),
        *_listed("remarks", "Remarks", report.remarks, "remark", "remarks"),
        *_about(about),
    ]
    fixed = sum(len(part.content.encode()) for part in (boards, *after))
    fixed += sum(len(_asset(name)) for name in ("page.css", "page.js")) + 100_000
    tables = [_tables(section) for section in report.sections]
    gallery = Gallery(looks(report.searchers), room=largest - fixed - sum(len(part.encode()) for part in tables))
    tasks = []
    for number, (section, others) in enumerate(zip(report.sections, tables, strict=True), 1):
        content = joined([others, gallery.by_kind(section.figures)])
        if not section.figures:
            content = joined([others, element("p", "No finished cell: there is nothing to draw.")])
        tasks.append(_Part(f"task-{number}", section.task, content))
    parts = [boards, *tasks, *after]
    return _document(title, summary, parts, gallery.colours, _left_out(gallery.left_out))


def regret_page(report: RegretReport, *, title: str, about: Mapping[str, str]) -> str:
    """The page of a benchmark of regret; the arguments are those of :func:`html_page`."""
    tables = joined(table_html(table, table.title, tools=True) for table in report.tables)
    parts = [
        _Part("tables", "Regrets", tables),
        *_listed("failures", "Failures", report.failures, "searcher failed somewhere", "searchers failed somewhere"),
        *_about(about),
    ]
    return _document(title, report.words, parts, (), Markup())


class _Part:
    """A part of a page that the table of contents names."""

    def __init__(self, name: str, heading: str, content: str) -> None:
        self.name, self.heading, self.content = name, heading, content

    def html(self) -> Markup:
        label = f"{self.name}-title"
        return element(
            "section", element("h2", self.heading, id=label), Markup(self.content), id=self.name, aria_labelledby=label
        )


def _counted(report: Report) -> tuple[str, ...]:
    def many(count: int, noun: str) -> str:
        return f"{count} {noun}{'s' * (count != 1)}"

    said = f"{many(len(report.searchers), 'searcher')} on {many(len(report.sections), 'task')}"
    failed = f"; {many(len(report.failures), 'cell')} failed." if report.failures else "; no cell failed."
    return (said + failed,)


def _boards(report: Report) -> Markup:
    boards = [table_html(_first(section), _first(section).title, tools=True) for section in report.sections if section.tables]
    legend = [element("p", paragraph, class_="legend") for paragraph in report.legend]
    return joined([*boards, *legend])


def _first(section: Section) -> Table:
    return section.tables[0]


def _tables(section: Section) -> Markup:
    return joined(table_html(table, table.title, tools=True) for table in section.tables[1:])


def _listed(name: str, heading: str, found: Sequence[str], one: str, many: str) -> list[_Part]:
    if not found:
        return []
    items = [element("li", _cell_and_reason(line)) for line in found[:MOST_LINES]]
    if len(found) > MOST_LINES:
        items.append(element("li", f"… and {len(found) - MOST_LINES} more: results.csv has them all"))
    said = element("p", f"{len(found)} {one if len(found) == 1 else many}.")
    return [_Part(name, heading, joined([said, element("ul", joined(items), class_="lines")]))]


def _cell_and_reason(line: str) -> Markup:
    cell, sign, reason = line.partition(": ")
    return joined([element("b", cell + sign.strip()), reason]) if sign else element("span", line)


def _about(about: Mapping[str, str]) -> list[_Part]:
    found = []
    for number, (heading, said) in enumerate(about.items(), 1):
        cut = len(said) > MOST_LETTERS
        shown = f"{said[:MOST_LETTERS]}\n… {len(said) - MOST_LETTERS} more letters are in the run folder" if cut else said
        code = element("pre", element("code", shown), tabindex="0", role="region", aria_label=heading)
        found.append(_Part(f"about-{number}", heading, code))
    return found


def _left_out(stems: Sequence[str]) -> Markup:
    if not stems:
        return Markup()
    names = ", ".join(stems[:20]) + (", …" if len(stems) > 20 else "")
    said = f"{len(stems)} figure{'s' * (len(stems) > 1)} left out to keep this page small; plots/ has them as PNG: {names}."
    return element("p", said, class_="notice", role="note")


def _document(
    title: str, summary: Iterable[str], parts: Sequence[_Part], colours: Iterable[str], notice: Markup
) -> str:
    script, style = _asset("page.js"), _asset("page.css")
    colours = set(colours)
    style = (
        style.replace("/*light*/", f"--surface:{SURFACE[0]};--ink:{INK[0]};--heat:none;{variables(colours, 0)}")
        .replace("/*dark*/", f"--surface:{SURFACE[1]};--ink:{INK[1]};--heat:{HEAT_FILTER};{variables(colours, 1)}")
    )
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    first, *others = [*summary] or ["Nothing was found."]
    contents = [element("li", element("a", part.heading, href=f"#{part.name}")) for part in parts]
    body = joined(
        [
            element("a", "To the content", href="#content", class_="skip"),
            element(
                "header",
                element("p", "rank-search report", class_="kind"),
                element("h1", title),
                element("p", first, class_="lead"),
                *(element("p", sentence) for sentence in others),
                notice,
            ),
            element("nav", element("h2", "Contents"), element("ol", joined(contents)), aria_label="Contents"),
            element("main", joined(part.html() for part in parts), id="content", tabindex="-1"),
            element("footer", element("p", "Made by rank-search from a run folder. This page loads nothing.")),
        ]
    )
    head = joined(
        [
            Markup('<meta charset="utf-8">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="color-scheme" content="light dark">'),
            Markup('<link rel="icon" href="data:,">'),
            element("title", f"{title} · rank-search"),
            element("style", Markup(style)),
            element("script", Markup(script)),
        ]
    )
    return f'<!DOCTYPE html>\n<html lang="en-GB">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _asset(name: str) -> str:
    return files("rank_search.report.render.html").joinpath(name).read_text(encoding="utf-8")
