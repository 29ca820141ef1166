"""All options of one layer as one table: dense first, then every form and rank that is cheaper on some metric."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import PlanError
from rank_search.memory import trim
from rank_search.plugins import nearest
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.estimate import Estimate
from rank_search.space.forms.multiplied import multiplied
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.metrics.metric import Metric, checked_number, checked_options, make_metrics
from rank_search.space.plan import DENSE, DENSE_FORM, Choice
from rank_search.space.tables import thinning
from rank_search.space.tables.refit_errors import refit_errors, refit_estimate


class LayerOptions:
    """The table of one layer; ``n`` options, row 0 is the dense layer.

    Args:
        forms: the decompositions that apply to the layer.
        weight: the dense weight with the metric of its errors.
        multiple_of: ranks that are no multiple of it are left out, except the smallest and largest of a form.
        metrics: what an option costs; None is ``params`` and ``macs``.

    Attributes:
        layer: its geometry.
        form: ``[n]``, the position in ``forms``, -1 for dense.
        ranks: ``[n, width]``, zero where a form has fewer modes than the widest.
        costs: ``[n, metrics]`` int64, a column per metric; the bias is not counted (it never changes).
        thinned: whether options were left out.
        moment: the second moment of what the weight meets (see :func:`patch_moments`); errors are then those that
            remain after a refit of the last factor. None for errors in the weight's own metric.
        distances: from a row to those of all others, as they are first asked for.
    """

    def __init__(
        self,
        forms: tuple[Decomposition, ...],
        weight: LayerWeight,
        multiple_of: int = 1,
        metrics: tuple[Metric, ...] | None = None,
    ) -> None:
        self.layer, self.weight = weight.layer, weight
        self.metrics = make_metrics() if metrics is None else metrics
        tables = [(form, *self._cheaper(form, multiple_of)) for form in forms]
        tables = [table for table in tables if len(table[1])]
        self.forms = tuple(form for form, _, _ in tables)
        self.width = max((len(form.modes) for form in self.forms), default=0)
        self.form = np.concatenate(
            [[-1], *(np.full(len(ranks), i) for i, (_, ranks, _) in enumerate(tables))], dtype=np.int64
        )
        padded = [np.pad(ranks, ((0, 0), (0, self.width - ranks.shape[1]))) for _, ranks, _ in tables]
        self.ranks: IntArray = np.concatenate([np.zeros((1, self.width), np.int64), *padded])
        self.costs: IntArray = np.concatenate([self._dense_costs[None], *(costs for _, _, costs in tables)])
        self.thinned = multiple_of > 1
        self.moment: Tensor | None = None
        self.distances: dict[int, FloatArray] = {}
        self._read_only()

    def pruned(self) -> LayerOptions:
        """The table without options that another one OF THEIR FORM beats on every metric and on the error.

        Across forms the weight error says little about what a plan is worth (docs/results.md): each keeps its own.
        """
        kept = [np.zeros(1, np.int64)]
        for form in range(len(self.forms)):
            rows = np.concatenate([[0], np.flatnonzero(self.form == form)])
            kept.append(rows[thinning.undominated(self.costs[rows], self.errors[rows])])
        return self._keep(np.unique(np.concatenate(kept)))

    def aligned(self, width: int, column: int) -> LayerOptions:
        """The table without options that a machine does not like.

        An option that takes longer than the dense layer goes, and one with a rank that is no multiple of ``width`` if
        another of its form, whose ranks all are and none of them smaller, takes no longer.

        Args:
            width: channels that the machine handles at once.
            column: of ``costs``, whose time it is.
        """
        kept: NDArray[np.bool_] = self.costs[:, column] <= self.costs[0, column]
        for position, form in enumerate(self.forms):
            rows = np.flatnonzero(self.form == position)
            ranks, times = self.ranks_of(position), self.costs[rows, column]
            bound = np.array([mode not in form.exempt for mode in form.modes])
            fits = (ranks[:, bound] % width == 0).all(1)
            filled = np.where(bound, -(-ranks // width) * width, ranks)[~fits]  # what is above it is above the ranks
            corners, place = np.unique(filled, axis=0, return_inverse=True)
            on, theirs = ranks[fits], times[fits]
            least = [theirs[(on >= corner).all(1)].min(initial=FOREVER) for corner in corners]
            kept[rows[~fits]] &= np.array(least, dtype=np.int64)[place.reshape(-1)] > times[~fits]
        return self._keep(np.flatnonzero(kept).astype(np.int64))

    def at_most(self, limit: int) -> LayerOptions:
        """The table with at most so many options, evenly spaced in cost."""
        return self._keep(thinning.evenly(self.costs, limit))

    def only(self, choices: Iterable[Choice]) -> LayerOptions:
        """The table with these options and the dense layer alone.

        Raises:
            PlanError: if it has not got one of them.
        """
        return self._keep(np.unique([0, *map(self.index, choices)]).astype(np.int64))

    def with_relative_errors(self, errors: FloatArray) -> LayerOptions:
        """The table with ``||W - What||^2 / ||W||^2`` as computed before, ``[n]``: nothing is decomposed for them."""
        other = copy.copy(self)
        other.__dict__.pop("estimated", None)
        other.errors = _frozen(np.array(errors, dtype=np.float64) * self.energy)
        return other

    def recounted(self) -> LayerOptions:
        """The table with its costs counted again; errors and decompositions are those of this one."""
        other = copy.copy(self)
        other.__dict__.pop("_dense_costs", None)
        costs = self.costs.copy()
        costs[0] = other._dense_costs
        for i, form in enumerate(self.forms):
            costs[self.form == i] = self.costs_of(form, self.ranks_of(i))
        other.costs, other.distances = _frozen(costs), {}
        return other

    def _keep(self, rows: IntArray) -> LayerOptions:
        """The table of these rows, ascending, 0 among them; forms that lose all their rows go."""
        if len(rows) == len(self):
            return self
        kept = LayerOptions((), self.weight, metrics=self.metrics)
        used = np.unique(self.form[rows])[1:]
        kept.forms = tuple(self.forms[i] for i in used)
        kept.width = max((len(form.modes) for form in kept.forms), default=0)
        kept.form = np.concatenate([[-1], np.searchsorted(used, self.form[rows[1:]])]).astype(np.int64)
        kept.ranks, kept.costs = self.ranks[rows, : kept.width], self.costs[rows]
        kept.thinned, kept.moment = True, self.moment
        if "errors" in self.__dict__:
            kept.errors = _frozen(self.errors[rows])
        if "estimated" in self.__dict__:
            kept.estimated = _rows(self.estimated, rows)
        kept._read_only()
        return kept

    def _read_only(self) -> None:
        """All searches of a process share the tables."""
        for array in (self.form, self.ranks, self.costs):
            _frozen(array)

    def costs_of(self, form: Decomposition, ranks: IntArray) -> IntArray:
        """What any rank tuples ``[k, modes]`` of a form cost in this layer, offered or not: ``[k, metrics]``."""
        return np.stack([checked_options(metric, self.layer, form, ranks) for metric in self.metrics], axis=1)

    def _cheaper(self, form: Decomposition, multiple_of: int) -> tuple[IntArray, IntArray]:
        """The form's ranks on the grid that cost less than the dense layer on some metric, and their costs."""
        ranks, costs = self._less(form, form.candidates(self.layer))
        if multiple_of == 1 or not len(ranks):
            return ranks, costs
        free = np.array([mode in form.exempt for mode in form.modes])
        ends = ranks[thinning.on_grid(ranks, free, multiple_of)]
        near = np.where(free, ranks, np.maximum(multiple_of, (ranks + multiple_of // 2) // multiple_of * multiple_of))
        near = near[(near <= ranks.max(0)).all(1)]
        near = near[form.feasible(self.layer, near)] if len(near) else near
        return self._less(form, np.unique(np.concatenate([ends, near]), axis=0))

    def _less(self, form: Decomposition, ranks: IntArray) -> tuple[IntArray, IntArray]:
        """Those of the ranks that cost less than the dense layer on some metric, and their costs."""
        costs = self.costs_of(form, ranks)
        cheaper = (costs < self._dense_costs).any(axis=1)
        return ranks[cheaper], costs[cheaper]

    @cached_property
    def _dense_costs(self) -> IntArray:
        return np.array([checked_number(metric, metric.dense(self.layer)) for metric in self.metrics], dtype=np.int64)

    def __repr__(self) -> str:
        return f"LayerOptions({self.layer.name!r}, {len(self)} options, {', '.join(form.name for form in self.forms)})"

    def __len__(self) -> int:
        return len(self.form)

    @property
    def fitting(self) -> NDArray[np.bool_]:
        """Which options can be chosen, ``[n]``: all, but for those that are known to have no finite fit."""
        known = "errors" in self.__dict__
        return np.isfinite(self.errors) if known else np.ones(len(self), dtype=np.bool_)

    @property
    def energy(self) -> float:
        """``||W||^2`` in the weight's metric."""
        return self.weight.energy * self.weight.scale

    @cached_property
    def errors(self) -> FloatArray:
        """``||W - What||^2`` of every option in the weight's metric, ``[n]``; 0 for dense, inf without a fit.

        Some are interpolated, where a form's fits take long (:attr:`estimated`).
        """
        return self.estimated.errors

    @cached_property
    def estimated(self) -> Estimate:
        """The errors, which of them are measured, and what the others are expected not to fall below."""
        if "errors" in self.__dict__:
            return Estimate.exact(self.errors)
        found = self.estimate()
        for array in (found.errors, found.floors, found.measured):
            _frozen(array)
        return found

    def estimate(self, fitted: NDArray[np.bool_] | None = None) -> Estimate:
        """As :attr:`estimated`, with at least the options ``fitted``, ``[n]``, measured."""
        return self._estimate_of(self.weight, fitted)

    def relative_errors_of(self, weight: LayerWeight) -> FloatArray:
        """As a table has it, ``||W - What||^2 / ||W||^2`` of every option for another weight of this layer, ``[n]``."""
        return self._estimate_of(weight).errors / max(weight.energy * weight.scale, 1e-300)

    def _estimate_of(self, weight: LayerWeight, fitted: NDArray[np.bool_] | None = None) -> Estimate:
        parts = [Estimate.exact(np.zeros(1))]
        for i, form in enumerate(self.forms):
            ranks = self.ranks_of(i)
            found = form.estimate(weight, ranks, None if fitted is None else fitted[self.form == i])
            if self.moment is not None:
                found = refit_estimate(form, weight, ranks, self.moment, found)
            errors, floors = (_scaled(values, weight.scale) for values in (found.errors, found.floors))
            parts.append(Estimate(errors, floors, found.measured))
            if self.layer.dense_params > LARGE:
                trim()
        columns = ((part.errors, part.floors, part.measured) for part in parts)
        return Estimate(*map(np.concatenate, zip(*columns, strict=True)))

    def relative_error(self, index: int) -> float:
        """``||W - What||^2 / ||W||^2`` of one option, measured; no other one is fitted for it."""
        if index == 0:
            return 0.0
        if "errors" in self.__dict__ and self.estimated.measured[index]:
            error = float(self.errors[index])
        else:
            form = self.forms[int(self.form[index])]
            ranks = self.ranks[index : index + 1, : len(form.modes)]
            if self.moment is not None:
                return float(refit_errors(form, self.weight, ranks, self.moment)[0])
            error = float(_scaled(form.errors(self.weight, ranks), self.weight.scale)[0])
        return error / max(self.energy, 1e-300)

    def ranks_of(self, form: int) -> IntArray:
        """The rank tuples of the form at that position, ``[k, modes]``."""
        rows: IntArray = self.ranks[self.form == form]
        return rows[:, : len(self.forms[form].modes)]

    def factors(self, index: int) -> tuple[Tensor, ...]:
        """The factors of option ``index`` (not dense), float64 (see :meth:`Decomposition.factors`)."""
        form = self.forms[int(self.form[index])]
        return form.factors(self.weight, self.choice(index).ranks)

    def approximation(self, index: int) -> Tensor:
        """The weight that option ``index`` puts in the layer's place: its factors multiplied out, float64.

        Canonical, ``[groups, Co / groups, Ci / groups, taps]``; the dense layer's own for option 0.
        """
        return self.weight.plain if index == 0 else multiplied(self.factors(index), self.layer.groups)

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
                f"it has: {', '.join([DENSE_FORM, *names])}{THINNED if self.thinned else ''}"
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
        reason = why_not_offered(form, self.layer, choice)
        raise PlanError(f"layer {self.layer.name!r}: {reason}{THINNED if self.thinned else ''}")

    @cached_property
    def coordinates(self) -> FloatArray:
        """``[n, width]`` in (0, 1]: each rank's place among those its form offers in that mode; dense is all ones."""
        result = np.ones((len(self), self.width))
        for i, form in enumerate(self.forms):
            rows = self.form == i
            for mode in range(len(form.modes)):
                offered, place = np.unique(self.ranks[rows, mode], return_inverse=True)
                result[rows, mode] = (place + 1) / (len(offered) + 1)
        return _frozen(result)

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


FOREVER = np.iinfo(np.int64).max
LARGE = 2**19  # weights of a layer whose decompositions leave holes in memory that matter
THINNED = " (this space leaves out options that others beat, or that multiple_of and max_options thin out)"


A = TypeVar("A", bound=np.ndarray[Any, Any])


def _frozen(array: A) -> A:
    """The array, which can no longer be written to."""
    array.flags.writeable = False
    return array


def _rows(estimate: Estimate, rows: IntArray) -> Estimate:
    return Estimate(estimate.errors[rows], estimate.floors[rows], estimate.measured[rows])


def _scaled(errors: FloatArray, scale: float) -> FloatArray:
    """An error of inf, no fit, stays inf whatever the scale."""
    return np.where(np.isfinite(errors), errors * scale, np.inf) if scale != 1 else errors


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
        return form.why_infeasible(layer, choice.ranks)
    if len(form.candidates(layer)) and not (form.candidates(layer) == ranks).all(axis=1).any():
        return f"{form.name} ranks {list(choice.ranks)} are not on the grid of this space"
    if form.params(layer, ranks)[0] >= layer.dense_params and form.macs(layer, ranks)[0] >= layer.dense_macs:
        return f"{form.name} ranks {list(choice.ranks)} cost at least as much as the dense layer: leave it dense"
    return f"{form.name} ranks {list(choice.ranks)} are not offered"
