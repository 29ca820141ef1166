"""The page of a report: what was found, in words, tables and figures, and how to do it again."""

from __future__ import annotations

from collections.abc import Sequence

from rank_search.report.render.html.document import ROOM, Part, document
from rank_search.report.render.html.figures import Gallery
from rank_search.report.render.html.headline import headline
from rank_search.report.render.html.markup import Markup, element, joined
from rank_search.report.render.html.plans import plans_html
from rank_search.report.render.html.table import explained_table
from rank_search.report.render.png.palette import looks
from rank_search.report.sections import Report
from rank_search.report.tables.pairs import LEGEND as OF_PAIRS

LARGEST = 3_000_000
"""Bytes of a page; figures for which there is no room are left out, and the page says so."""
MOST_PLANS = 1_000_000
"""Bytes of the plans of all cells in a page of the largest size."""
MOST_LINES, MOST_LETTERS = 200, 60_000
"""Failures or remarks, and letters of a text about the run, that a page shows."""


def html_page(report: Report, *, largest: int = LARGEST) -> str:
    """The page of a run, of several together, or of a benchmark of regret.

    Args:
        report: as ``report_of`` or ``regret_report_of`` gives it.
        largest: bytes that the page may have.

    Returns:
        HTML that loads nothing; the same for the same arguments.
    """
    words = headline(report)
    boards = Part("leaderboards", "Leaderboard", _boards(report))
    after = [
        *_listed("failures", "Failures", report.failures),
        *_listed("remarks", "Remarks", report.remarks),
        *_about(report.about),
    ]
    together = joined(explained_table(table) for table in report.tables)
    tables = [joined(map(explained_table, section.tables[1:])) for section in report.sections]
    room = MOST_PLANS * largest // LARGEST // max(1, sum(section.plans is not None for section in report.sections))
    plans = [Markup() if section.plans is None else plans_html(section.plans, room) for section in report.sections]
    said = [_sentences(section.summary) for section in report.sections] if words.shortened else []
    fixed = [part.content for part in (boards, *after)] + [together, *tables, *plans, *said]
    gallery = Gallery(looks(report.searchers), largest - ROOM - sum(len(part.encode()) for part in fixed))
    of_all = joined([together, gallery.by_kind(report.figures)])
    parts = [boards, *([Part("all", _of_all_title(report), of_all)] if of_all.strip() else [])]
    for number, section in enumerate(report.sections):
        figures = gallery.by_kind(section.figures)
        if not section.figures and len(section.tables) < 2:
            figures = element("p", "No finished cell: there is nothing to draw.")
        content = joined([*said[number : number + 1], tables[number], figures, plans[number]])
        if content.strip():
            parts.append(Part(f"task-{number + 1}", section.task, content))
    return document(report.title, words, [*parts, *after], gallery.colours, _left_out(gallery.left_out))


def _boards(report: Report) -> Markup:
    boards = [explained_table(section.tables[0]) for section in report.sections if section.tables]
    legend = [element("p", paragraph, class_="legend") for paragraph in report.legend if paragraph != OF_PAIRS]
    return joined([*boards, *legend])


def _of_all_title(report: Report) -> str:
    return "All tasks and budgets" if len(report.sections) > 1 else "All budgets"


def _sentences(found: Sequence[str]) -> Markup:
    items = [element("li", sentence) for sentence in found]
    return element("ul", joined(items), class_="words") if items else Markup()


def _listed(name: str, heading: str, found: Sequence[str]) -> list[Part]:
    if not found:
        return []
    items = [element("li", _cell_and_reason(line)) for line in found[:MOST_LINES]]
    if len(found) > MOST_LINES:
        items.append(element("li", f"… and {len(found) - MOST_LINES} more are in the run folder"))
    return [Part(name, heading, element("ul", joined(items), class_="lines"))]


def _cell_and_reason(line: str) -> Markup:
    cell, sign, reason = line.partition(": ")
    return joined([element("b", cell + sign.strip()), reason]) if sign else element("span", line)


def _about(about: Sequence[tuple[str, str]]) -> list[Part]:
    found = []
    for number, (heading, said) in enumerate(about, 1):
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
    said = f"{count} left out to keep this page small; rank-search report draws them as PNG: {names}."
    return element("p", said, class_="notice", role="note")
