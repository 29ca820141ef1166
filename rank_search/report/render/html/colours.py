"""The colours of figures on a light and on a dark page: variables of CSS that fall back to what was drawn."""

from __future__ import annotations

from collections.abc import Iterable

SURFACE = ("#ffffff", "#15191e")
"""Below the figures, light and dark."""
INK = ("#1b1f24", "#e6e8eb")
"""Of axes and texts, light and dark."""
CHOSEN = {
    "#0072b2": ("#0072b2", "#4a9ee0"),
    "#d55e00": ("#c85600", "#f58a42"),
    "#009e73": ("#008a64", "#2cc299"),
    "#cc79a7": ("#b8588e", "#e39cc6"),
    "#56b4e9": ("#2c8fc9", "#9bd8ff"),
    "#e69f00": ("#a87400", "#f2b632"),
    "#dddddd": ("#dddddd", "#363d46"),
    "#555555": ("#555555", "#a9b1ba"),
}
"""Light and dark, of what the figures are drawn in: the palette, three to one at least; the grid; notes."""
DIM = 0.72
HEAT_FILTER = f"invert(1) hue-rotate(180deg) brightness({DIM})"
"""What :func:`dark` does to one colour, for images."""
_WEIGHTS = (0.2126, 0.7152, 0.0722)


def themed(colour: str) -> str:
    """A colour as CSS: black is the ink, white the surface, others have a variable.

    Args:
        colour: ``#rrggbb``.
    """
    colour = colour.lower()
    if colour == "#000000":
        return "currentColor"
    if colour == "#ffffff":
        return "var(--surface)"
    return f"var(--c{colour[1:]},{colour})"


def variables(colours: Iterable[str], theme: int) -> str:
    """The declarations of the variables of these colours.

    Args:
        colours: ``#rrggbb``.
        theme: 0 for light, 1 for dark.
    """
    return "".join(f"--c{colour[1:]}:{shade(colour)[theme]};" for colour in sorted(set(colours)))


def shade(colour: str) -> tuple[str, str]:
    """A colour on a light page and on a dark one."""
    return CHOSEN.get(colour, (colour, dark(colour)))


def dark(colour: str) -> str:
    """The colour with its lightness turned round, the hue kept, and dimmed; as :data:`HEAT_FILTER` does it."""
    inverted = [255 - int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    luma = sum(weight * part for weight, part in zip(_WEIGHTS, inverted, strict=True))
    turned = [min(255.0, max(0.0, 2 * luma - part)) for part in inverted]
    return "#" + "".join(f"{round(DIM * part):02x}" for part in turned)


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21 (WCAG 2.1)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip(_WEIGHTS, linear, strict=True))
