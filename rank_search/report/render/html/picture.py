"""An SVG of a figure, made a part of a page: no ids that clash, colours of the page's theme, places that speak."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from rank_search.report.render.html.colours import themed
from rank_search.report.render.html.markup import Markup
from rank_search.report.render.png.vector import Spot, Vector

PIXELS = 4 / 3  # of a point
REACH = 7.0  # points around a point within which it speaks
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NUMBER = re.compile(r"-?\d+\.\d+(?!\d*e)")
_SIZE = re.compile(r"(?:^|;)\s*font(?:-size)?:[^;]*?(\d+(?:\.\d+)?)px")
_FONT = re.compile(r"\s*font(?:-family|-size)?:[^;]*;?")
NUMERIC = ("d", "x", "y", "points", "transform")


@dataclass(frozen=True)
class Picture:
    """An ``<svg>`` element as markup, and the colours (``#rrggbb``) that it has variables for."""

    svg: Markup
    colours: frozenset[str]


def picture(drawn: Vector, prefix: str, label: str) -> Picture:
    """Makes an SVG fit for a page.

    Args:
        drawn: the figure.
        prefix: of all its ids, different from any other figure's of the page.
        label: what it shows, for those who cannot see it.
    """
    root = ElementTree.fromstring(drawn.svg)
    colours: set[str] = set()
    used = set(_references(root))
    for parent in list(root.iter()):
        for child in list(parent):
            if _name(child) in ("metadata", "style"):
                parent.remove(child)
    for node in root.iter():
        node.tag = _name(node)
        _localise(node, prefix, used, colours)
    _prune(root)
    root.attrib.clear()
    root.attrib |= {
        "viewBox": f"0 0 {drawn.width:g} {drawn.height:g}",
        "width": f"{drawn.width * PIXELS:.0f}",
        "height": f"{drawn.height * PIXELS:.0f}",
        "style": f"--w:{drawn.width * PIXELS:.0f}px",
        "role": "img",
        "aria-label": label,
    }
    spots = ElementTree.SubElement(root, "g", {"class": "spots"})
    spots.extend(map(_spot, drawn.spots))
    return Picture(Markup(ElementTree.tostring(root, encoding="unicode", method="xml")), frozenset(colours))


def _references(root: ElementTree.Element) -> Iterator[str]:
    for node in root.iter():
        for key, value in node.attrib.items():
            if _plain(key) == "href":
                yield value.removeprefix("#")
            yield from _REFERENCE.findall(value)


def _localise(node: ElementTree.Element, prefix: str, used: set[str], colours: set[str]) -> None:
    """Attributes without namespaces; ids only where something refers to them, with the prefix; short numbers."""
    given = dict(node.attrib)
    node.attrib.clear()
    node.text = node.text if node.text and node.text.strip() else None
    node.tail = None
    for key, value in given.items():
        name = _plain(key)
        if name == "id":
            if value in used:
                node.attrib["id"] = prefix + value
            continue
        if name == "href":
            value = "".join(value.split()) if value.startswith("data:") else f"#{prefix}{value.removeprefix('#')}"
        elif name == "style":
            value = _style(value, colours)
        elif name in NUMERIC:
            value = _NUMBER.sub(_exactly if "matrix" in value else _briefly, value)
        value = _REFERENCE.sub(lambda found: f"url(#{prefix}{found[1]})", value)
        if value:
            node.attrib[name] = value


def _style(value: str, colours: set[str]) -> str:
    """Without the font, whose size remains; with the colours of the theme."""
    size = _SIZE.search(value)
    value = _FONT.sub("", value)

    def theme(found: re.Match[str]) -> str:
        colour = found[0].lower()
        if colour not in ("#000000", "#ffffff"):
            colours.add(colour)
        return themed(colour)

    value = _COLOUR.sub(theme, value)
    value = ";".join(part.strip().replace(": ", ":") for part in value.split(";") if part.strip())
    return ";".join(filter(None, [f"font-size:{size[1]}px" if size else "", value]))


def _prune(node: ElementTree.Element) -> None:
    """Takes groups away that hold nothing, and those that do nothing but hold."""
    for child in list(node):
        _prune(child)
    kept: list[ElementTree.Element] = []
    for child in node:
        if child.tag in ("g", "defs") and not child.attrib and child.tag == "g":
            kept.extend(child)
        elif child.tag not in ("g", "defs") or len(child):
            kept.append(child)
    node[:] = kept


def _spot(spot: Spot) -> ElementTree.Element:
    if spot.width:
        made = ElementTree.Element(
            "rect",
            {
                "x": _short(spot.x - spot.width / 2),
                "y": _short(spot.y - spot.height / 2),
                "width": _short(spot.width),
                "height": _short(spot.height),
            },
        )
    else:
        made = ElementTree.Element("circle", {"cx": _short(spot.x), "cy": _short(spot.y), "r": _short(REACH)})
    ElementTree.SubElement(made, "title").text = spot.text
    return made


def _exactly(found: re.Match[str]) -> str:
    return f"{float(found[0]):.6g}"


def _briefly(found: re.Match[str]) -> str:
    return _short(found[0])


def _short(number: float | str) -> str:
    return f"{float(number):.2f}".rstrip("0").rstrip(".")


def _name(node: ElementTree.Element) -> str:
    return _plain(str(node.tag))


def _plain(name: str) -> str:
    return name.rpartition("}")[2]
