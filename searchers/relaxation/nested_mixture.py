"""The reconstruction error of a mixture of a layer's options, in closed form in their probabilities p (ours).

Where the options of a form are nested, each is a sum over an index set S_r of components C_j that are orthogonal to
one another, with energies c_j = ||C_j||^2, and W is the sum of all. The mixture's error is then

    || W - sum_r p_r What_r ||^2 = sum_j (1 - P_j)^2 c_j,     P_j = sum over the r whose S_r holds j of p_r

so that neither weights nor factors are needed, only errors of ranks. In a CHAIN (one rank) S_r are the first r
components; with errors e_1 >= ... >= e_m of the ranks on offer and F_i the probability of a rank at most the i-th,

    error = sum_{i < m} F_i^2 (e_i - e_{i+1}) + e_m

and in a GRID (both ranks of Tucker-2) S is a rectangle, the sum runs over cells. Options that are not nested in one
another (of different forms, or of other numbers of groups) stand in different blocks. A layer's error is the
expectation over its blocks of the error of the mixture inside each: never below the error of the whole mixture, never
above the expected error of a single option, and equal to both where p stands on one option.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.tables.options import LayerOptions
from rank_search.space.tables.thinning import undominated

LEAST_MASS = 1e-300


class Block(ABC):
    """Options that are nested in one another.

    Args:
        inside: where they stand among the layer's.
    """

    def __init__(self, inside: IntArray) -> None:
        self.inside = inside

    @abstractmethod
    def error(self, p: FloatArray) -> float:
        """``pi || W - sum_r (p_r / pi) What_r ||^2`` with ``pi = sum p``; p is ``[len(inside)]``."""

    @abstractmethod
    def gradient(self, p: FloatArray) -> FloatArray:
        """Its gradient in p; where no option has any mass, towards each alone."""


class Chain(Block):
    """One rank that rises.

    Args:
        inside: in the order of rising rank.
        errors: of those.
    """

    def __init__(self, inside: IntArray, errors: FloatArray) -> None:
        super().__init__(inside)
        self._errors = errors
        self._steps, self._rest = errors[:-1] - errors[1:], float(errors[-1])

    def error(self, p: FloatArray) -> float:
        mass = float(p.sum())
        below = np.cumsum(p)[:-1]
        return float((below**2) @ self._steps) / max(mass, LEAST_MASS) + mass * self._rest

    def gradient(self, p: FloatArray) -> FloatArray:
        mass = float(p.sum())
        if mass < LEAST_MASS:
            return self._errors
        share = np.cumsum(p)[:-1] / mass
        above = np.append(np.cumsum((2 * share * self._steps)[::-1])[::-1], 0.0)
        return above - float((share**2) @ self._steps) + self._rest


class Separate(Block):
    """Options of which no two are nested: each is a block of its own, the error is the expected one.

    Args:
        inside: in any order.
        errors: of those.
    """

    def __init__(self, inside: IntArray, errors: FloatArray) -> None:
        super().__init__(inside)
        self._errors = errors

    def error(self, p: FloatArray) -> float:
        return float(p @ self._errors)

    def gradient(self, p: FloatArray) -> FloatArray:
        return self._errors


class Grid(Block):
    """Two ranks: what is kept at a pair is all cells below it in both.

    Args:
        inside: in any order.
        places: ``[len(inside), 2]``, the position of each rank among the ranks ``0, r_1 < r_2 < ...`` of its mode.
        kept: ``[1 + ranks, 1 + ranks]``: the energy kept at those ranks, 0 at rank 0.
        energy: of the whole weight.
    """

    def __init__(self, inside: IntArray, places: IntArray, kept: FloatArray, energy: float) -> None:
        super().__init__(inside)
        self._places, self._shape = tuple(places.T), kept.shape
        self._flat = np.ravel_multi_index(self._places, kept.shape)
        self._cells: FloatArray = np.diff(np.diff(kept, axis=0), axis=1)
        self._rest = max(energy - float(self._cells.sum()), 0.0)
        self._errors: FloatArray = np.maximum(energy - kept[self._places], 0.0)

    def error(self, p: FloatArray) -> float:
        mass = float(p.sum())
        missing = mass - self._held(p)
        return float((missing**2 * self._cells).sum()) / max(mass, LEAST_MASS) + mass * self._rest

    def gradient(self, p: FloatArray) -> FloatArray:
        mass = float(p.sum())
        if mass < LEAST_MASS:
            return self._errors
        share = 1 - self._held(p) / mass
        weighted = 2 * share * self._cells
        inside = np.zeros(self._shape)
        inside[1:, 1:] = weighted.cumsum(0).cumsum(1)
        spent = float((share**2 * self._cells).sum())
        gradient: FloatArray = inside[-1, -1] - inside[self._places] - spent + self._rest
        return gradient

    def _held(self, p: FloatArray) -> FloatArray:
        """Per cell the probability of the options that hold it."""
        mass = np.bincount(self._flat, p, minlength=self._shape[0] * self._shape[1]).reshape(self._shape)
        held: FloatArray = mass[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1][1:, 1:]
        return held


class LayerMixture:
    """The options of a layer that may be mixed, dense among them, as blocks; errors are relative to ``||W||^2``.

    Left out is what another option of the same block beats on every bounded metric and on the error, and what has no
    finite fit. Arrays over options are ``[n]`` over those left, in the order of :attr:`rows`.

    Args:
        options: of the layer.
        columns: of its costs that are bounded.

    Attributes:
        rows: the options' rows in the layer's table.
        errors: of every option.
        costs: ``[n, metrics]``.
    """

    def __init__(self, options: LayerOptions, columns: Sequence[int]) -> None:
        errors = options.errors / max(options.energy, 1e-300)
        blocks: list[tuple[int, IntArray]] = [(-1, np.zeros(1, np.int64))]
        for position, form in enumerate(options.forms):
            rows = np.flatnonzero((options.form == position) & np.isfinite(errors))
            fixed = [mode for mode, name in enumerate(form.modes) if name not in form.nested]
            fixed = fixed if form.nested else []  # options of which none are nested may stand together
            places = np.unique(options.ranks[rows][:, fixed], axis=0, return_inverse=True)[1].reshape(-1)
            for place in range(int(places.max(initial=-1)) + 1):
                inside = np.concatenate([[0], rows[places == place]])
                costs = options.costs[inside][:, [columns[0], columns[-1]]]
                blocks.append((position, inside[undominated(costs, errors[inside])[1:]]))
        self.rows: IntArray = np.concatenate([rows for _, rows in blocks])
        self.errors: FloatArray = errors[self.rows]
        self.costs: FloatArray = options.costs[self.rows][:, columns].astype(np.float64)
        self._blocks: list[Block] = []
        start = 0
        for position, rows in blocks:
            inside = np.arange(start, start + len(rows))
            start += len(rows)
            if len(rows):
                self._blocks.append(_block(options, position, rows, inside, self.errors[inside]))

    def mixture_error(self, p: FloatArray) -> float:
        """The expectation over blocks of the error of the mixture inside each."""
        return sum(block.error(p[block.inside]) for block in self._blocks)

    def mixture_gradient(self, p: FloatArray) -> FloatArray:
        """Its gradient in p, ``[n]``."""
        found = np.empty(len(p))
        for block in self._blocks:
            found[block.inside] = block.gradient(p[block.inside])
        return found


def _block(options: LayerOptions, position: int, rows: IntArray, inside: IntArray, errors: FloatArray) -> Block:
    """The block of some rows of one form (-1: the dense layer); errors are relative."""
    form = None if position < 0 else options.forms[position]
    nested = [] if form is None else [form.modes.index(mode) for mode in form.nested]
    if form is None or not nested:
        return Separate(inside, errors)
    if len(nested) == 1:
        order = np.argsort(options.ranks[rows, nested[0]], kind="stable")
        return Chain(inside[order], errors[order])
    scale = options.weight.scale / max(options.energy, 1e-300)
    ranks = options.ranks[rows][:, nested]
    axes = [np.unique(ranks[:, mode]) for mode in range(2)]
    pairs = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    energy = options.weight.energy * scale
    kept = np.zeros((len(axes[0]) + 1, len(axes[1]) + 1))
    kept[1:, 1:] = (energy - form.errors(options.weight, pairs) * scale).reshape(len(axes[0]), -1)
    places = np.stack([np.searchsorted(axis, ranks[:, mode]) + 1 for mode, axis in enumerate(axes)], axis=1)
    return Grid(inside, places, kept, energy)
