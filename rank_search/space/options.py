"""All options of one layer as one table: dense first, then every form and rank that is cheaper on some metric."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rank_search.errors import PlanError
from rank_search.plugins import nearest
from rank_search.space.decomposition import Analysis, Decomposition, FloatArray, IntArray
from rank_search.space.factor_cache import FactorCache
from rank_search.space.layer import Layer
from rank_search.space.plan import DENSE, DENSE_FORM, Choice


class LayerOptions:
    """The table of one layer; ``n`` options, row 0 is the dense layer.

    Args:
        layer: its geometry.
        forms: the decompositions that apply to it.
        weight: the dense weight; a copy is kept, so that training the model later changes nothing here.
        cache: where analyses are kept.

    Attributes:
        form: ``[n]``, the position in ``forms``, -1 for dense.
        ranks: ``[n, width]``, zero where a form has fewer modes than the widest.
        costs: ``[n, 2]`` int64, columns as in ``budget.METRICS``; the bias is not counted (it never changes).
    """

    def __init__(self, layer: Layer, forms: tuple[Decomposition, ...], weight: Tensor, cache: FactorCache) -> None:
        self.layer, self._cache = layer, cache
        self._weight = weight.detach().cpu().clone()
        tables = [(form, *_cheaper(form, layer)) for form in forms]
        self.forms = tuple(form for form, ranks, _ in tables if len(ranks))
        tables = [table for table in tables if len(table[1])]
        self.width = max((len(form.modes) for form in self.forms), default=0)
        self.form = np.concatenate(
            [[-1], *(np.full(len(ranks), i) for i, (_, ranks, _) in enumerate(tables))], dtype=np.int64
        )
        padded = [np.pad(ranks, ((0, 0), (0, self.width - ranks.shape[1]))) for _, ranks, _ in tables]
        self.ranks: IntArray = np.concatenate([np.zeros((1, self.width), np.int64), *padded])
        dense = np.array([[layer.dense_params, layer.dense_macs]], dtype=np.int64)
        self.costs: IntArray = np.concatenate([dense, *(costs for _, _, costs in tables)])
        self._analyses: dict[str, Analysis] = {}

    def __len__(self) -> int:
        return len(self.form)

    @cached_property
    def energy(self) -> float:
        """``||W||^2``."""
        return float(self._weight.double().square().sum())

    @cached_property
    def errors(self) -> FloatArray:
        """``||W - What||^2`` of every option, ``[n]``; 0 for dense, inf where no fit was found."""
        parts = [np.zeros(1)]
        for i, form in enumerate(self.forms):
            parts.append(form.errors(self.layer, self.analysis(form), self.ranks_of(i)))
        return np.concatenate(parts)

    def ranks_of(self, form: int) -> IntArray:
        """The rank tuples of the form at that position, ``[k, modes]``."""
        rows: IntArray = self.ranks[self.form == form]
        return rows[:, : len(self.forms[form].modes)]

    def analysis(self, form: Decomposition) -> Analysis:
        """The form's analysis of this weight, computed when first asked for."""
        if form.name not in self._analyses:
            ranks = self.ranks_of(self.forms.index(form))
            self._analyses[form.name] = self._cache.analyse(form, self.layer, self._weight, ranks)
        return self._analyses[form.name]

    def factors(self, index: int) -> tuple[Tensor, ...]:
        """The factors' weights of option ``index`` (not dense), float64."""
        form = self.forms[int(self.form[index])]
        return form.factors(self.layer, self.analysis(form), self.choice(index).ranks)

    def choice(self, index: int) -> Choice:
        """Option ``index`` as a form and ranks."""
        if self.form[index] < 0:
            return DENSE
        form = self.forms[self.form[index]]
        return Choice(form.name, tuple(self.ranks[index, : len(form.modes)].tolist()))

    def index(self, choice: Choice) -> int:
        """The row of a choice.

        Raises:
            PlanError: if the table has no such option; says what is allowed.
        """
        if choice == DENSE:
            return 0
        names = [form.name for form in self.forms]
        if choice.form not in names:
            raise PlanError(
                f"layer {self.layer.name!r} has no form {choice.form!r}{nearest(choice.form, names)}; "
                f"it has: {', '.join([DENSE_FORM, *names])}"
            )
        position = names.index(choice.form)
        form = self.forms[position]
        if len(choice.ranks) == len(form.modes) and max(choice.ranks) < self._base:
            key = position + 1
            for rank in (*choice.ranks, *[0] * (self.width - len(form.modes))):
                key = key * self._base + rank
            order, keys = self._sorted_keys
            row = int(np.searchsorted(keys, key))
            if row < len(keys) and keys[row] == key:
                return int(order[row])
        raise PlanError(f"layer {self.layer.name!r}: {why_not_offered(form, self.layer, choice)}")

    @cached_property
    def coordinates(self) -> FloatArray:
        """``[n, width]`` in (0, 1]: each rank's place among those its form offers in that mode; dense is all ones."""
        result = np.ones((len(self), self.width))
        for i, form in enumerate(self.forms):
            rows = self.form == i
            for mode in range(len(form.modes)):
                offered, place = np.unique(self.ranks[rows, mode], return_inverse=True)
                result[rows, mode] = (place + 1) / (len(offered) + 1)
        return result

    @cached_property
    def _base(self) -> int:
        return int(self.ranks.max(initial=0)) + 1

    @cached_property
    def _sorted_keys(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        keys = self._keys(self.form, self.ranks)
        order = np.argsort(keys, kind="stable")
        return order, keys[order]

    def _keys(self, form: IntArray, ranks: IntArray) -> NDArray[np.int64]:
        key = form + 1
        for mode in range(self.width):
            key = key * self._base + ranks[:, mode]
        return key


def _cheaper(form: Decomposition, layer: Layer) -> tuple[IntArray, IntArray]:
    """The form's ranks that cost less than the dense layer on some metric, and their costs."""
    ranks = form.candidates(layer)
    costs = np.stack([form.params(layer, ranks), form.macs(layer, ranks)], axis=1)
    keep = (costs < np.array([layer.dense_params, layer.dense_macs])).any(axis=1)
    return ranks[keep], costs[keep]


def why_not_offered(form: Decomposition, layer: Layer, choice: Choice) -> str:
    """Why a table has no option with these ranks, and what is allowed."""
    if len(choice.ranks) != len(form.modes):
        return f"{form.name} takes {len(form.modes)} rank(s) ({', '.join(form.modes)}), {list(choice.ranks)} were given"
    largest = form.largest_ranks(layer)
    for mode, rank, top in zip(form.modes, choice.ranks, largest, strict=True):
        if rank > top:
            return f"{form.name} rank {rank} of mode {mode!r} is above the largest, {top}"
    ranks = np.array([choice.ranks], dtype=np.int64)
    if not form.feasible(layer, ranks)[0]:
        return f"no {form.name} of this weight has the ranks {list(choice.ranks)}: one mode is too small for the other"
    if len(form.candidates(layer)) and not (form.candidates(layer) == ranks).all(axis=1).any():
        return f"{form.name} ranks {list(choice.ranks)} are not on the grid of this space"
    return f"{form.name} ranks {list(choice.ranks)} cost at least as much as the dense layer: leave it dense"
