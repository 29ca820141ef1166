"""The frame of a page: head, title, summary, contents, parts; style and script are in it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from rank_search.report.render.html.colours import HEAT_FILTER, INK, SURFACE, variables
from rank_search.report.render.html.headline import Headline
from rank_search.report.render.html.markup import Markup, element, joined

ROOM = 150_000
"""Bytes that are enough for all but the parts: style, script, colours, summary, contents."""


@dataclass(frozen=True)
class Part:
    """A part of a page that the table of contents names.

    Attributes:
        name: its id.
        heading: above it.
        content: markup.
    """

    name: str
    heading: str
    content: Markup

    def html(self) -> Markup:
        """The part as a section."""
        label = f"{self.name}-title"
        return element(
            "section", element("h2", self.heading, id=label), self.content, id=self.name, aria_labelledby=label
        )


def document(title: str, words: Headline, parts: Sequence[Part], colours: Iterable[str], notice: Markup) -> str:
    """The whole page.

    Args:
        title: of the page.
        words: below the title.
        parts: in order.
        colours: ``#rrggbb`` that the figures have variables for.
        notice: what else must be known before reading; may be empty.

    Returns:
        HTML with its style and its script, which a policy lets load nothing and run nothing else.
    """
    script, style = _asset("page.js"), _asset("page.css")
    colours = set(colours)
    style = style.replace(
        "/*light*/", f"--surface:{SURFACE[0]};--ink:{INK[0]};--heat:none;{variables(colours, 0)}"
    ).replace("/*dark*/", f"--surface:{SURFACE[1]};--ink:{INK[1]};--heat:{HEAT_FILTER};{variables(colours, 1)}")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    sentences = joined(element("li", sentence) for sentence in words.others)
    contents = [element("li", element("a", part.heading, href=f"#{part.name}")) for part in parts]
    body = joined(
        [
            element("a", "To the content", href="#content", class_="skip"),
            element(
                "header",
                element("p", "rank-search report", class_="kind"),
                element("h1", title),
                element("p", words.first, class_="lead"),
                element("ul", sentences, class_="words") if words.others else Markup(),
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
