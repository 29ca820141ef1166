"""Draws mean ranks with the critical difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rank_search.report.figures.critical_difference import CriticalDifference
from rank_search.report.render.png.hover import put_points
from rank_search.report.render.png.line_frame import put_note, put_title
from rank_search.report.render.png.page import SCREEN, Page
from rank_search.report.render.png.palette import Look

ROW, BAR = 1.0, 0.45  # heights of a name and of a bar of a group
ROW_INCHES, ROUND_INCHES = 0.28, 1.5
LONGEST = 22  # characters of a name beside the axis
CHARACTER, MOST_BESIDE = 0.55, 0.34  # width of one, over the size of text; share of the width that a side has at most
TICKS_APART = 0.12  # of the axis, at least, to its ends
BAR_COLOR = "#333333"
GAP = "\u00a0"  # between a line and a name; a plain space at the end of a text is not kept in SVG


def draw_critical_difference(value: CriticalDifference, styles: Mapping[str, Look], page: Page = SCREEN) -> Figure:
    """Draws the axis above, a marker per searcher on it, names at both sides below, a bar per group.

    Args:
        value: the figure.
        styles: a look for every searcher.
        page: what it is for.
    """
    names = list(value.ranks)
    half = math.ceil(len(names) / 2)
    depth = ROW * half + BAR * len(value.groups) + 0.6
    inches = ROW_INCHES * page.text / SCREEN.text
    figure = Figure(figsize=(page.width, inches * depth + ROUND_INCHES * page.text / SCREEN.text), layout="constrained")
    axes = figure.add_subplot()
    least, most = 1, max(2, math.ceil(max(value.ranks.values())))
    most = max(most, math.ceil(least + value.difference))
    room = (most - least) * _beside(names, page)
    axes.set_xlim(least - room, most + room)
    axes.set_ylim(-depth, 1.6)
    _put_axis(axes, value, (least, most), page)
    _put_groups(axes, value, page)
    top = BAR * len(value.groups) + 0.4
    for place, name in enumerate(names):
        left = place < half
        row = place if left else len(names) - 1 - place
        end = least - 0.03 * room if left else most + 0.03 * room
        level, rank, look = -top - ROW * (row + 0.5), value.ranks[name], styles[name]
        axes.plot(
            [rank, rank, end], [0, level, level], color=look.color, linestyle=look.line, linewidth=1.6 * page.scale
        )
        axes.plot([rank], [0], color=look.color, marker=look.marker, markersize=7 * page.scale, clip_on=False, zorder=5)
        put_points(axes, [rank], [0.0], [_says(value, name)])
        text = f"{_short(name)} {value.ranks[name]:.2f}" if left else f"{value.ranks[name]:.2f} {_short(name)}"
        axes.text(
            end,
            level,
            f"{text}{GAP}" if left else f"{GAP}{text}",
            ha="right" if left else "left",
            va="center",
            parse_math=False,
        )
    put_title(figure, value.title, page)
    put_note(figure, *value.notes, page=page)
    return figure


def _says(value: CriticalDifference, name: str) -> str:
    alike = ", ".join(value.alike(name))
    return f"{name}: mean rank {value.ranks[name]:.2f}; {f'not told from {alike}' if alike else 'told from all others'}"


def _beside(names: Sequence[str], page: Page) -> float:
    """Room for the names at one side, as a share of the axis."""
    longest = max(len(_short(name)) for name in names) + len(" 12.34 ")
    share = min(longest * CHARACTER * page.text / 72 / page.width, MOST_BESIDE)
    return share / (1 - 2 * share)


def _put_axis(axes: Axes, value: CriticalDifference, ends: tuple[int, int], page: Page) -> None:
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    apart = TICKS_APART * (ends[1] - ends[0])
    found = MaxNLocator(6, integer=True).tick_values(*ends)
    ticks = [tick for tick in found if ends[0] + apart <= tick <= ends[1] - apart]
    axes.set_xticks([])
    axes.yaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.plot(ends, [0, 0], color="black", linewidth=page.scale)
    for tick in sorted({*ticks, *ends}):
        axes.plot([tick, tick], [0, 0.2], color="black", linewidth=page.scale)
        axes.text(tick, 0.3, f"{tick:g}", ha="center", va="bottom", fontsize="small")
    axes.set_xlabel(f"{value.x_label}; {value.difference_label}", fontsize="small")
    bar = (ends[0], min(ends[0] + value.difference, ends[1]))
    axes.plot(bar, [1.35, 1.35], color="black", linewidth=1.5 * page.scale, marker="|", markersize=6 * page.scale)


def _put_groups(axes: Axes, value: CriticalDifference, page: Page) -> None:
    for number, group in enumerate(value.groups):
        ends = [value.ranks[group[0]] - 0.03, value.ranks[group[-1]] + 0.03]
        level = -BAR * (number + 0.8)
        axes.plot(ends, [level, level], color=BAR_COLOR, linewidth=4.5 * page.scale, solid_capstyle="butt", zorder=4)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
