"""What was chosen: the form and the ranks of every layer, searchers side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rank_search.report.measure import ABSENT
from rank_search.space.plan import Choice

Plan = Mapping[str, Choice]
LargestRanks = Mapping[tuple[str, str], tuple[int, ...]]


@dataclass(frozen=True)
class Ranks:
    """The figure of one task and budget: a grid of texts, a row per layer, a column per searcher.

    Attributes:
        title: above all.
        y_label: of the rows.
        layers: names of the rows.
        columns: titles of the columns, of one or two lines.
        texts: ``[layers][columns]``, the choices; a dash where a plan has no such layer.
        shares: ``[layers, columns]``, rank / largest rank, in (0, 1]; NaN where a layer has no ranks.
        dense: ``[layers, columns]``, whether a layer was left dense.
        share_label: what ``shares`` are.
        notes: sentences below.
    """

    title: str
    y_label: str
    layers: tuple[str, ...]
    columns: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    shares: NDArray[np.float64]
    dense: NDArray[np.bool_]
    share_label: str
    notes: tuple[str, ...]


def ranks(task: str, budget: str, plans: Mapping[str, Plan], largest: LargestRanks) -> Ranks:
    """Puts plans side by side.

    A plan does not say what a layer's full rank is, so a share is the mean over modes of rank / largest rank, where the
    largest is over all finished cells of the task that gave this layer this form.

    Args:
        task: its name.
        budget: its text.
        plans: the column titles and their plans, in order.
        largest: what ``largest_ranks`` found in the whole task.
    """
    layers = tuple(dict.fromkeys(layer for plan in plans.values() for layer in plan))
    chosen = [[plan.get(layer) for plan in plans.values()] for layer in layers]
    size = (len(layers), len(plans))
    shares = [[_share(layer, plan, largest) for plan in plans.values()] for layer in layers]
    return Ranks(
        title=f"{task} at {budget}: form and ranks of every layer",
        y_label="Layer",
        layers=layers,
        columns=tuple(plans),
        texts=tuple(tuple(ABSENT if choice is None else str(choice) for choice in row) for row in chosen),
        shares=np.array(shares, dtype=float).reshape(size),
        dense=np.array([[c is not None and not c.ranks for c in row] for row in chosen], dtype=bool).reshape(size),
        share_label="Rank / largest rank in this run",
        notes=("Colour: rank / largest rank of this layer in this form, over all cells of the task. Grey: dense.",),
    )


def largest_ranks(plans: Iterable[Plan]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Per layer and form the largest rank of each mode that any of the plans uses."""
    largest: dict[tuple[str, str], tuple[int, ...]] = {}
    for plan in plans:
        for layer, choice in plan.items():
            before = largest.get((layer, choice.form), choice.ranks)
            largest[layer, choice.form] = tuple(map(max, before, choice.ranks))
    return largest


def _share(layer: str, plan: Plan, largest: LargestRanks) -> float:
    choice = plan.get(layer)
    if choice is None or not choice.ranks:
        return math.nan
    return float(np.mean(np.divide(choice.ranks, largest[layer, choice.form])))
