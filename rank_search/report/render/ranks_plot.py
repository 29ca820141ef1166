"""What was chosen: the form and the ranks of every layer, searchers side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure

from rank_search.report.render.line_frame import put_note, put_title
from rank_search.space.plan import Choice

Plan = Mapping[str, Choice]
LargestRanks = Mapping[tuple[str, str], tuple[int, ...]]

DENSE_FILL = "#DDDDDD"
BLUES = ("#F7FBFF", "#C6DBEF", "#6BAED6", "#4191C6")  # none so dark that black text could not be read
SHADES = LinearSegmentedColormap.from_list("ranks", BLUES)
ROW_INCHES, CHARACTER_INCHES = 0.3, 0.075
CENTERED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5, "parse_math": False}


def largest_ranks(plans: Iterable[Plan]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Per layer and form the largest rank of each mode that any of the plans uses."""
    largest: dict[tuple[str, str], tuple[int, ...]] = {}
    for plan in plans:
        for layer, choice in plan.items():
            before = largest.get((layer, choice.form), choice.ranks)
            largest[layer, choice.form] = tuple(map(max, before, choice.ranks))
    return largest


def ranks_figure(task: str, budget: str, plans: Mapping[str, Plan], largest: LargestRanks) -> Figure:
    """Draws a heat map: a row per layer, a column per searcher; the text is the choice, the colour compares it.

    A plan does not say what a layer's full rank is, so the colour is the mean over modes of rank / largest rank, where
    the largest is over all finished cells of the task that gave this layer this form. A dense layer is grey.

    Args:
        task: the name of the task.
        budget: the text of the budget.
        plans: the column titles and their plans, in order.
        largest: what ``largest_ranks`` found in the whole task.
    """
    layers = list(dict.fromkeys(layer for plan in plans.values() for layer in plan))
    longest = max(len(str(choice)) for plan in plans.values() for choice in plan.values()) if layers else 0
    column_inches = max(1.0, CHARACTER_INCHES * (max([longest, *map(_title_width, plans)]) + 2))
    names_inches = CHARACTER_INCHES * max(map(len, layers), default=0)
    size = (max(6.8, column_inches * len(plans) + names_inches + 1.2), max(3.2, ROW_INCHES * len(layers) + 1.5))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    grid = np.ones((len(layers), len(plans), 4))
    for column, plan in enumerate(plans.values()):
        for row, layer in enumerate(layers):
            choice = plan.get(layer)
            if choice is not None:
                share = _share(choice, largest[layer, choice.form])
                grid[row, column] = to_rgba(DENSE_FILL) if share is None else SHADES(share)
            axes.text(column, row, "–" if choice is None else str(choice), **CENTERED)
    if layers:
        axes.imshow(grid, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(plans)), labels=list(plans), parse_math=False)
    axes.set_yticks(range(len(layers)), labels=layers, parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(1, len(plans)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(layers)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("Layer", labelpad=8)
    put_title(figure, f"{task} at {budget}: form and ranks of every layer")
    figure.colorbar(
        ScalarMappable(Normalize(0.0, 1.0), SHADES), ax=axes, label="Rank / largest rank in this run", aspect=30
    )
    put_note(figure, "Colour: rank / largest rank of this layer in this form, over all cells of the task. Grey: dense.")
    return figure


def _share(choice: Choice, largest: tuple[int, ...]) -> float | None:
    """The mean over modes of rank / largest rank, in (0, 1]; None for a layer without ranks."""
    return float(np.mean(np.divide(choice.ranks, largest))) if choice.ranks else None


def _title_width(title: str) -> int:
    return max(map(len, title.split("\n")))
