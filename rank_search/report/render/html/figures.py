"""Figures of a page: each with its title, its picture, its caption and its numbers, as many as there is room for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rank_search.report.figures.critical_difference import CriticalDifference
from rank_search.report.figures.incumbents import Incumbents
from rank_search.report.figures.measure_against_cost import MeasureAgainstCost
from rank_search.report.figures.probabilities import Probabilities
from rank_search.report.figures.rank_paths import RankPaths
from rank_search.report.figures.ranks import Ranks
from rank_search.report.render.html.markup import Markup, element, joined
from rank_search.report.render.html.picture import picture
from rank_search.report.render.html.table import table_html
from rank_search.report.render.png.palette import Look
from rank_search.report.render.png.vector import vector
from rank_search.report.render.png.write_plots import draw
from rank_search.report.sections import NamedFigure
from rank_search.report.tables.numbers import numbers, spoken

HEADINGS: dict[type, str] = {
    CriticalDifference: "Who is told from whom",
    MeasureAgainstCost: "Result against cost",
    Incumbents: "Progress of the searches",
    Ranks: "Ranks per layer",
    RankPaths: "Ranks while training",
    Probabilities: "Probabilities of ranks",
}
"""Of the kinds that come first and last; others stand after the measure against the cost."""
SHOWN = 4
"""Figures of one kind and task that are seen at once; the others can be opened."""
_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass
class Gallery:
    """The figures of one page.

    Attributes:
        styles: a look for every searcher of the run.
        room: bytes that figures may take.
        taken: bytes that they took.
        colours: of all figures so far, ``#rrggbb``.
        left_out: stems of those for which there was no room: all from the first one on.
    """

    styles: Mapping[str, Look]
    room: int
    taken: int = 0
    colours: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    _count: int = 0

    def by_kind(self, figures: Iterable[NamedFigure], level: str = "h3") -> Markup:
        """All figures of a task, kind by kind, each under a heading.

        Args:
            figures: in the order of the report.
            level: of the heading.
        """
        kinds: dict[type, list[NamedFigure]] = {}
        for figure in sorted(figures, key=lambda named: _place(type(named.figure))):
            kinds.setdefault(type(figure.figure), []).append(figure)
        parts = []
        for kind, of_kind in kinds.items():
            made = [block for block in map(self._block, of_kind) if block]
            if made:
                parts += [element(level, heading(kind)), *made[:SHOWN]]
            if made[SHOWN:]:
                more = f"{len(made) - SHOWN} more of these figures"
                parts.append(element("details", element("summary", more), joined(made[SHOWN:]), class_="more"))
        return joined(parts)

    def _block(self, named: NamedFigure) -> Markup | None:
        if self.left_out:
            self.left_out.append(named.stem)
            return None
        self._count += 1
        name = f"f{self._count}"
        value = named.figure
        drawn = vector(draw(value, self.styles))
        shown = picture(drawn, f"{name}-", f"{value.title}. {' '.join(value.notes)}".strip())
        table = numbers(value) or (spoken(spot.text for spot in drawn.spots) if drawn.spots else None)
        told = None
        if table is not None:
            told = element(
                "details",
                element("summary", "The numbers"),
                table_html(table, f"Numbers of: {value.title}"),
                class_="numbers",
            )
        block = element(
            "figure",
            element("p", value.title, class_="title", id=f"{name}-title"),
            element(
                "div", shown.svg, class_="scroll plot", role="group", tabindex="0", aria_labelledby=f"{name}-title"
            ),
            element("figcaption", " ".join(value.notes)) if value.notes else Markup(),
            told or Markup(),
            id=name,
        )
        size = len(block.encode())
        if self.taken + size > self.room:
            self.left_out.append(named.stem)
            return None
        self.taken += size
        self.colours |= shown.colours
        return block


def heading(kind: type) -> str:
    """What figures of a kind are called."""
    return HEADINGS.get(kind) or _WORDS.sub(" ", kind.__name__).capitalize()


def _place(kind: type) -> float:
    return [*HEADINGS].index(kind) if kind in HEADINGS else 1.5
