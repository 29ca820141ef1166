"""Candidate ranks of every layer from coarse to fine: a wide range in large steps, then around the winner in smaller.

[A] (arXiv 2409.03555 and its authors' code): candidates ``{lo, lo + s, ..., hi}``; after a round with the most probable
rank ``rbar`` the range becomes ``rbar +- s / 2`` and ``s`` becomes ``floor(s / f)``; it ends when ``s < 1``.
[R] How a range meets what a layer can bear: each candidate is clipped to ``1 .. largest`` and equal ones are one, so
that the largest rank of the layer is a candidate wherever the range goes beyond it.
[R] The finer candidates are laid out from ``rbar``, which therefore stays one of them whatever s and f are.
Ours: several forms in one layer (each narrows around its own most probable rank) and separate ranks per mode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from rank_search.errors import InvalidInputError
from rank_search.searching.option_values import boolean, positive, whole
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.layers.layer import Layer
from rank_search.space.plan import Choice
from rank_search.space.tables.options import LayerOptions

Bounds = tuple[int, int]
"""The lowest and the highest candidate."""


@dataclass(frozen=True)
class Schedule:
    """Where the ranges start and how they shrink.

    Args:
        lowest, highest: of the first candidates.
        step: s, between candidates.
        shrink: f, above 1: at 1 the step would never end. Below 2 the finer step may be longer than ``s / 2``, and the
            winner is then the only candidate of the next round.
        tied: whether the modes of a form share one rank, clipped per mode; else the candidates are the grid of all
            modes, those pairs left out that no factorisation can have.

    Raises:
        InvalidInputError: if a value is not allowed.
    """

    lowest: int = 10
    highest: int = 100
    step: int = 10
    shrink: float = 10.0
    tied: bool = True

    def __post_init__(self) -> None:
        for option in ("lowest", "highest", "step"):
            whole(option, getattr(self, option), 1)
        boolean("tied", self.tied)
        if self.highest < self.lowest:
            raise InvalidInputError(
                f"lowest={self.lowest} and highest={self.highest} leave no candidate rank: highest is at least lowest"
            )
        if not positive("shrink", self.shrink) > 1:
            raise InvalidInputError(
                f"shrink={self.shrink!r} is not allowed: it is a number above 1, or the step would never fall below 1"
            )


CIFAR = Schedule()
IMAGENET = Schedule(lowest=50, highest=850, step=100)


@dataclass(frozen=True)
class Candidates:
    """What one layer may become in a round.

    Args:
        choices: forms and ranks, all different.
        sizes: of each what the rank loss counts: the rank [A]; the parameters where a layer has several forms or
            separate ranks, of which the paper says nothing (ours).

    Raises:
        InvalidInputError: if there is none, or one twice, or not one positive size for each.
    """

    choices: tuple[Choice, ...]
    sizes: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.choices or len(self.choices) != len(self.sizes) or len(set(self.choices)) != len(self.choices):
            raise InvalidInputError(
                f"{len(self.choices)} candidates, {len(set(self.choices))} of them different, with {len(self.sizes)} "
                "sizes: give at least one, each once, and a size for each"
            )
        for size in self.sizes:
            positive("size", size)


class RankRanges:
    """The candidate ranks of every layer, narrowed after every round.

    Args:
        layers: of a space; all their forms stand side by side.
        schedule: :data:`CIFAR`, :data:`IMAGENET` or another.

    Attributes:
        step: s of this round; 0 when the schedule has ended.
        rounds: how often the ranges were narrowed.

    Raises:
        InvalidInputError: if there is no layer, a layer has no form, a form has a mode that is no rank, or the lowest
            rank is above the largest of a layer's form.
    """

    def __init__(self, layers: Sequence[LayerOptions], schedule: Schedule = CIFAR) -> None:
        if not layers:
            raise InvalidInputError("no layer was given: the schedule needs at least one")
        self._layers: dict[str, Layer] = {}
        self._forms: dict[str, dict[str, Decomposition]] = {}
        self._ranges: dict[str, dict[str, list[Bounds]]] = {}
        self._tied, self._shrink = schedule.tied, schedule.shrink
        self.step, self.rounds = schedule.step, 0
        for options in layers:
            layer, start = options.layer, (schedule.lowest, schedule.highest)
            if not options.forms:
                raise InvalidInputError(f"layer {layer.name!r} has no form but dense: leave it out")
            for form in options.forms:
                _check(layer, form, schedule.lowest)
            self._layers[layer.name] = layer
            self._forms[layer.name] = {form.name: form for form in options.forms}
            self._ranges[layer.name] = {form.name: [start] * len(self._tops(layer, form)) for form in options.forms}

    @property
    def done(self) -> bool:
        """Whether the schedule has ended."""
        return self.step < 1

    def candidates(self) -> dict[str, Candidates]:
        """Of every layer, for this round.

        Raises:
            InvalidInputError: if the schedule has ended.
        """
        self._require_open()
        return {name: self._of(name) for name in self._layers}

    def narrow(self, best: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
        """The ranges of the next round.

        Args:
            best: per layer and form the most probable ranks; a form that is not named is given up.

        Raises:
            InvalidInputError: if a layer is missing, a layer or form is unknown, or the schedule has ended.
        """
        self._require_open()
        if set(best) != set(self._layers):
            wrong = ", ".join(sorted(set(best) ^ set(self._layers)))
            raise InvalidInputError(f"the most probable ranks are of other layers than the ranges: {wrong}")
        half, step = self.step // 2, math.floor(self.step / self._shrink)
        reach = half // step * step if step else half
        found: dict[str, dict[str, list[Bounds]]] = {}
        for name, forms in best.items():
            unknown = set(forms) - set(self._ranges[name])
            if unknown or not forms:
                had, allowed = ", ".join(sorted(unknown)) or "none", ", ".join(self._ranges[name])
                raise InvalidInputError(f"layer {name!r}: ranks of the forms {had} were given; it has {allowed}")
            found[name] = {}
            for form, ranks in forms.items():
                modes = len(self._forms[name][form].modes)
                if len(ranks) != modes:
                    raise InvalidInputError(f"layer {name!r}: {form} has {modes} ranks, {list(ranks)} were given")
                centres = [max(ranks)] if self._tied else list(ranks)
                found[name][form] = [(centre - reach, centre + reach) for centre in centres]
        self._ranges, self.step, self.rounds = found, step, self.rounds + 1

    def state_dict(self) -> dict[str, Any]:
        ranges = {name: {f: [list(b) for b in bounds] for f, bounds in r.items()} for name, r in self._ranges.items()}
        return {"ranges": ranges, "step": self.step, "rounds": self.rounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state["ranges"]) != set(self._layers):
            raise InvalidInputError("the saved ranges are of other layers than this space's: resume the same search")
        self._ranges = {
            name: {form: [(int(lo), int(hi)) for lo, hi in bounds] for form, bounds in forms.items()}
            for name, forms in state["ranges"].items()
        }
        self.step, self.rounds = int(state["step"]), int(state["rounds"])

    def _of(self, name: str) -> Candidates:
        layer, choices, params, ranks_of = self._layers[name], [], [], []
        for form_name, bounds in self._ranges[name].items():
            form = self._forms[name][form_name]
            axes = [
                sorted({min(max(rank, 1), top) for rank in range(low, high + 1, self.step)})
                for (low, high), top in zip(bounds, self._tops(layer, form), strict=True)
            ]
            largest = form.largest_ranks(layer)
            if self._tied:
                grid = [tuple(min(rank, top) for top in largest) for rank in axes[0]]
            else:
                grid = list(product(*axes))
            table = np.array(grid, dtype=np.int64)
            table = table[form.feasible(layer, table)]
            choices += [Choice(form_name, tuple(ranks)) for ranks in table.tolist()]
            ranks_of += table.max(1).tolist()
            params += form.params(layer, table).tolist()
        plain = len(self._ranges[name]) == 1 and (self._tied or len(self._forms[name][choices[0].form].modes) == 1)
        return Candidates(tuple(choices), tuple(float(size) for size in (ranks_of if plain else params)))

    def _tops(self, layer: Layer, form: Decomposition) -> tuple[int, ...]:
        """The largest rank of every range of a form: one when tied, where the other modes are clipped below it."""
        largest = form.largest_ranks(layer)
        return (max(largest),) if self._tied else largest

    def _require_open(self) -> None:
        if self.done:
            raise InvalidInputError(f"the schedule has ended after {self.rounds} rounds: there are no further ranks")


def nearest_row(options: LayerOptions, choice: Choice) -> int:
    """The row of a layer's options for a candidate, which need not be among them.

    The method weighs ranks that cost more than the dense layer, and ranks that a space leaves out (a grid, pruning).

    Returns:
        0, dense, for a choice that is no cheaper than dense on any metric, else the row of its form whose ranks are
        nearest in logarithms.

    Raises:
        InvalidInputError: if the layer has no such form.
    """
    names = [form.name for form in options.forms]
    if choice.form not in names:
        raise InvalidInputError(f"layer {options.layer.name!r} has no form {choice.form!r}; it has {', '.join(names)}")
    position = names.index(choice.form)
    form, ranks = options.forms[position], np.array([choice.ranks], dtype=np.int64)
    if (options.costs_of(form, ranks)[0] >= options.costs[0]).all():
        return 0
    rows = np.flatnonzero(options.form == position)
    distances = np.square(np.log(options.ranks_of(position)) - np.log(ranks)).sum(1)
    return int(rows[distances.argmin()])


def _check(layer: Layer, form: Decomposition, lowest: int) -> None:
    if form.exempt:
        raise InvalidInputError(
            f"the form {form.name!r} of layer {layer.name!r} has modes that are no ranks ({', '.join(form.exempt)}): "
            "take it out of forms"
        )
    top = max(form.largest_ranks(layer))
    if lowest > top:
        raise InvalidInputError(
            f"lowest={lowest} leaves no rank of {form.name} for layer {layer.name!r}, whose largest is {top}: lower "
            "it, or exclude the layer"
        )
