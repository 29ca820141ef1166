"""The rank space of a model: what may be chosen, what it costs, and how to move in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from rank_search.errors import InfeasibleBudgetError, LayerSelectionError, OverBudgetError, PlanError, WeightsError
from rank_search.plugins import nearest
from rank_search.space.budget import METRICS, Budget
from rank_search.space.compress import replace_layers
from rank_search.space.decomposition import Decomposition, FloatArray, IntArray, decomposition
from rank_search.space.factor_cache import FactorCache
from rank_search.space.knapsack import Solution, solve
from rank_search.space.layer import Layer
from rank_search.space.options import LayerOptions
from rank_search.space.plan import Choice, RankPlan
from rank_search.space.selection import select
from rank_search.space.trace import Trace, trace

FORM_CHANGE = 1.0  # the distance added when a projection changes a layer's form


class RankSpace:
    """The option tables of a model. A population of plans is an int array of option rows, ``[plans, layers]``.

    Build it with :meth:`from_model`.

    Attributes:
        layers: the tables, in the model's order.
        skipped: every other convolution, linear or attention layer with the reason why it stays as it is.
        dense_cost: cost of the whole dense network per metric.
        fixed_cost: the part of it that no plan changes.
    """

    def __init__(
        self, layers: Sequence[LayerOptions], skipped: Mapping[str, str], dense_cost: Mapping[str, int]
    ) -> None:
        self.layers = tuple(layers)
        self.skipped = dict(skipped)
        self.dense_cost = dict(dense_cost)
        chosen = sum(options.costs[0] for options in self.layers)
        self.fixed_cost = {metric: int(dense_cost[metric] - chosen[m]) for m, metric in enumerate(METRICS)}
        self._position = {options.layer.name: i for i, options in enumerate(self.layers)}
        self._fixed = np.array([self.fixed_cost[metric] for metric in METRICS], dtype=np.int64)

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        example_input: Tensor,
        forms: Iterable[str] = ("tucker2", "svd"),
        include: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        cache: str | Path | None = None,
    ) -> RankSpace:
        """Reads the layers of a model.

        Args:
            model: the trained dense network; not changed.
            example_input: ``[N, ...]``; the first sample fixes the MACs.
            forms: names of decompositions; the options of all of them stand in one table per layer.
            include, exclude: shell-style patterns of layer names; each must match something.
            cache: folder for decompositions, keyed by the weight's hash; None keeps them in memory.

        Raises:
            UnknownNameError, LayerSelectionError, WeightsError, InvalidInputError: see their messages.
        """
        if isinstance(forms, str):
            raise LayerSelectionError(f"forms is the text {forms!r}; give a list, e.g. [{forms!r}]")
        kinds = tuple(decomposition(name) for name in dict.fromkeys(forms))
        if not kinds:
            raise LayerSelectionError("forms is empty; give at least one, e.g. ['tucker2']")
        traced = trace(model, example_input)
        names = [name for name in dict(model.named_modules()) if name in traced.layers or name in traced.skipped]
        if not names:
            raise LayerSelectionError(
                f"{type(model).__name__} has no convolution and no linear layer: nothing to decompose"
            )
        left_out = select(names, include, exclude)
        store = FactorCache(Path(cache) if cache is not None else None)
        tables: list[LayerOptions] = []
        skipped: dict[str, str] = {}
        for name in names:
            reason = left_out.get(name) or traced.skipped.get(name)
            table = reason or _table(traced.layers[name], kinds, model, store)
            if isinstance(table, str):
                skipped[name] = table
            else:
                tables.append(table)
        if not tables:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
            more = f" (and {len(skipped) - 3} more)" if len(skipped) > 3 else ""
            raise LayerSelectionError(f"no layer of {type(model).__name__} can be decomposed: {reasons}{more}")
        return cls(tables, skipped, _dense_cost(traced))

    @property
    def size(self) -> int:
        """The number of plans, an exact integer."""
        return math.prod(len(options) for options in self.layers)

    @property
    def width(self) -> int:
        """The length ``d`` of an encoded plan."""
        return sum(_vector_width(options) for options in self.layers)

    # -- plans and rows ------------------------------------------------------------------------------------------------

    def indices(self, plan: RankPlan) -> IntArray:
        """The rows of a plan, ``[layers]``; a layer that the plan does not name is dense.

        Raises:
            PlanError: if the plan names a layer or option that this space does not have.
        """
        rows = np.zeros(len(self.layers), dtype=np.int64)
        for name, choice in plan.items():
            if name not in self._position:
                if name in self.skipped and choice.form == "dense":
                    continue
                if name in self.skipped:
                    raise PlanError(f"the plan changes {name!r}, which is not in this space: {self.skipped[name]}")
                known = [*self._position, *self.skipped]
                raise PlanError(
                    f"the plan names the layer {name!r}, which this model does not have{nearest(name, known)}; "
                    "is it another model's?"
                )
            position = self._position[name]
            rows[position] = self.layers[position].index(choice)
        return rows

    def plan(self, indices: IntArray) -> RankPlan:
        """The plan of a row array ``[layers]``; every layer of the space is spelled out."""
        return RankPlan({o.layer.name: o.choice(int(i)) for o, i in zip(self.layers, indices, strict=True)})

    @property
    def dense(self) -> RankPlan:
        """The plan that leaves everything as it is."""
        return self.plan(np.zeros(len(self.layers), dtype=np.int64))

    # -- cost ----------------------------------------------------------------------------------------------------------

    def cost(self, plan: RankPlan) -> dict[str, int]:
        """``params`` and ``macs`` (one sample) of the whole network under the plan."""
        return dict(zip(METRICS, self.costs(self.indices(plan)[None])[0].tolist(), strict=True))

    def costs(self, plans: IntArray) -> IntArray:
        """Costs of a population: ``[plans, layers]`` rows to ``[plans, metrics]``, columns as in ``METRICS``."""
        plans = np.asarray(plans)
        if plans.ndim != 2 or plans.shape[1] != len(self.layers) or plans.dtype.kind not in "iu":
            raise PlanError(
                f"a population is an int array [plans, {len(self.layers)}], not {plans.dtype} {plans.shape}"
            )
        total = np.tile(self._fixed, (len(plans), 1))
        for options, rows in zip(self.layers, plans.T, strict=True):
            outside = rows[(rows < 0) | (rows >= len(options))]
            if len(outside):
                raise PlanError(f"layer {options.layer.name!r} has the options 0..{len(options) - 1}, not {outside[0]}")
            total += options.costs[rows]
        return total

    def admit(self, plan: RankPlan, budget: Budget) -> dict[str, int]:
        """The one gate of the budget: the plan's cost, or an error.

        Raises:
            OverBudgetError: if the plan costs more than the budget allows.
        """
        cost = self.cost(plan)
        for metric, limit in budget.limits(self.dense_cost).items():
            if cost[metric] > limit:
                raise OverBudgetError(
                    f"the plan costs {cost[metric]} {metric} ({cost[metric] / self.dense_cost[metric]:.4f} of the "
                    f"dense network), the budget {budget} allows {limit}"
                )
        return cost

    def require_feasible(self, budget: Budget) -> None:
        """Checks that some plan meets the budget.

        Raises:
            InfeasibleBudgetError: if none does; says the smallest reachable cost.
        """
        least = self.smallest_cost
        for metric, limit in budget.limits(self.dense_cost).items():
            if least[metric] > limit:
                raise InfeasibleBudgetError(
                    f"no plan of this space meets the budget {budget}: the smallest reachable is {least[metric]} "
                    f"{metric}, {math.ceil(least[metric] / self.dense_cost[metric] * 1e4) / 1e4} of the dense network"
                )
        self.minimise([np.zeros(len(options)) for options in self.layers], budget)

    @property
    def smallest_cost(self) -> dict[str, int]:
        """The smallest reachable cost per metric, each on its own."""
        least = self._fixed + sum(options.costs.min(0) for options in self.layers)
        return dict(zip(METRICS, least.tolist(), strict=True))

    def minimise(self, values: Sequence[FloatArray], budget: Budget) -> Solution:
        """The plan of least total value within the budget, with a lower bound (see ``space.knapsack``).

        Args:
            values: one value per option of every layer; inf forbids an option.
            budget: the bound on the whole network's cost.

        Raises:
            InfeasibleBudgetError: if no feasible plan was found.
        """
        columns = [METRICS.index(metric) for metric in budget.metrics]
        limits = budget.limits(self.dense_cost)
        capacity = np.array([limits[metric] - self.fixed_cost[metric] for metric in budget.metrics], dtype=np.float64)
        costs: list[FloatArray] = [options.costs[:, columns].astype(np.float64) for options in self.layers]
        solution = solve(values, costs, capacity)
        if solution is None:
            raise InfeasibleBudgetError(
                f"no plan of this space meets the budget {budget}; the smallest reachable, each on its own: "
                + ", ".join(f"{k} {v / self.dense_cost[k]:.4f}" for k, v in self.smallest_cost.items())
            )
        return solution

    # -- errors --------------------------------------------------------------------------------------------------------

    def relative_errors(self) -> list[FloatArray]:
        """``||W - What||^2 / ||W||^2`` of every option, one array per layer."""
        return [options.errors / max(options.energy, 1e-300) for options in self.layers]

    def compress(self, model: nn.Module, plan: RankPlan) -> nn.Module:
        """A copy of the model under the plan, from cached factors of this space's weights.

        Raises:
            PlanError: if the plan is not one of this space.
        """
        rows = dict(zip(self._position, self.indices(plan).tolist(), strict=True))

        def factors(name: str, choice: Choice, form: Decomposition, module: nn.Module) -> tuple[Tensor, ...]:
            return self.layers[self._position[name]].factors(rows[name])

        return replace_layers(model, plan, factors)

    # -- moving --------------------------------------------------------------------------------------------------------

    def encode(self, plan: RankPlan) -> FloatArray:
        """The plan as a vector in ``[0, 1]^width``; :meth:`decode` gives the same plan back."""
        parts = []
        for options, row in zip(self.layers, self.indices(plan), strict=True):
            if len(options.forms) > 1:
                parts.append([(max(int(options.form[row]), 0) + 0.5) / len(options.forms)])
            parts.append(options.coordinates[row].tolist())
        return np.array([value for part in parts for value in part])

    def decode(self, vector: FloatArray) -> RankPlan:
        """The plan whose options lie nearest to a vector in ``[0, 1]^width``; the budget is not looked at.

        Per layer the vector holds the form (a bin of [0, 1], only where a layer has several) and one coordinate per
        mode: the place of the rank among those offered, 1 at every mode for the dense layer.
        """
        vector = np.asarray(vector, dtype=np.float64)
        if vector.shape != (self.width,) or not np.isfinite(vector).all():
            raise PlanError(f"an encoded plan is a finite vector of length {self.width}, not {vector.shape}")
        rows, at = np.zeros(len(self.layers), dtype=np.int64), 0
        for i, options in enumerate(self.layers):
            form = 0
            if len(options.forms) > 1:
                form = int(np.clip(vector[at] * len(options.forms), 0, len(options.forms) - 1))
                at += 1
            modes = len(options.forms[form].modes)
            allowed = np.flatnonzero((options.form == form) | (options.form < 0))
            offset = options.coordinates[allowed, :modes] - vector[at : at + modes]
            rows[i] = allowed[int(np.argmin(np.square(offset).sum(1)))]
            at += options.width
        return self.plan(rows)

    def project(self, plan: RankPlan, budget: Budget) -> RankPlan:
        """The plan itself if it meets the budget, else a plan near it that does.

        Near is in the coordinates of :meth:`encode`: the sum over layers of squared steps; changing a layer's
        form costs a fixed price plus the squared relative change of its parameters. It is a knapsack with that
        distance as its value.
        """
        rows = self.indices(plan)
        limits = budget.limits(self.dense_cost)
        cost = dict(zip(METRICS, self.costs(rows[None])[0], strict=True))
        if all(cost[metric] <= limit for metric, limit in limits.items()):
            return self.plan(rows)
        return self.plan(
            self.minimise([_distances(o, r) for o, r in zip(self.layers, rows, strict=True)], budget).indices
        )

    def random_plan(self, rng: np.random.Generator, budget: Budget) -> RankPlan:
        """A plan drawn uniformly in the coordinates of :meth:`encode`, then projected onto the budget."""
        return self.project(self.decode(rng.random(self.width)), budget)

    def neighbours(self, plan: RankPlan) -> list[RankPlan]:
        """All plans one step away: one rank to the next offered one, or one layer's form changed at similar cost."""
        rows = self.indices(plan)
        found = []
        for i, options in enumerate(self.layers):
            for row in _adjacent(options, int(rows[i])):
                changed = rows.copy()
                changed[i] = row
                found.append(self.plan(changed))
        return found

    def feasible_plans(self, budget: Budget, chunk: int = 4096) -> Iterator[RankPlan]:
        """Every plan within the budget, in a fixed order; meant for small spaces."""
        limits = budget.limits(self.dense_cost)
        columns = [METRICS.index(metric) for metric in budget.metrics]
        bound = np.array([limits[metric] for metric in budget.metrics])
        for start in range(0, self.size, chunk):
            flat = np.arange(start, min(start + chunk, self.size))
            population = np.empty((len(flat), len(self.layers)), dtype=np.int64)
            for i in reversed(range(len(self.layers))):  # the last layer changes fastest
                flat, population[:, i] = np.divmod(flat, len(self.layers[i]))
            inside = (self.costs(population)[:, columns] <= bound).all(1)
            for rows in population[inside]:
                yield self.plan(rows)


def _table(layer: Layer, kinds: tuple[Decomposition, ...], model: nn.Module, store: FactorCache) -> LayerOptions | str:
    """The layer's options, or why it has none."""
    reasons = {form.name: form.why_not(layer) for form in kinds}
    forms = tuple(form for form in kinds if reasons[form.name] is None)
    if not forms:
        return "; ".join(reason for reason in dict.fromkeys(reasons.values()) if reason is not None)
    weight = model.get_submodule(layer.name).weight
    assert isinstance(weight, Tensor)
    if not weight.isfinite().all():
        raise WeightsError(
            f"layer {layer.name!r} holds {int((~weight.isfinite()).sum())} weights that are NaN or infinite"
        )
    options = LayerOptions(layer, forms, weight, store)
    return (
        options
        if len(options) > 1
        else f"no {' or '.join(form.name for form in forms)} is cheaper than the dense layer"
    )


def _dense_cost(traced: Trace) -> dict[str, int]:
    return {metric: traced.dense_cost[metric] for metric in METRICS}


def _vector_width(options: LayerOptions) -> int:
    return options.width + (len(options.forms) > 1)


def _distances(options: LayerOptions, row: int) -> FloatArray:
    """Squared distance of every option of a layer from option ``row``, ``[n]``."""
    here, places = int(options.form[row]), options.coordinates
    result = np.full(len(options), FORM_CHANGE)
    result += np.square((options.costs[:, 0] - options.costs[row, 0]) / options.costs[0, 0])
    for form, kind in enumerate(options.forms):
        modes = len(kind.modes)
        rows = np.flatnonzero((options.form == form) | (options.form < 0)) if here in (form, -1) else np.array([], int)
        result[rows] = np.square(places[rows, :modes] - places[row, :modes]).sum(1)
    return result


def _adjacent(options: LayerOptions, row: int) -> list[int]:
    """Options one step from ``row``: next ranks of the same form, and the nearest in cost of every other form."""
    here, found = int(options.form[row]), []
    cost = np.abs(options.costs[:, 0] - options.costs[row, 0])
    for form in range(-1, len(options.forms)):
        rows = np.flatnonzero(options.form == form)
        if form != here:
            found.append(int(rows[np.argmin(cost[rows])]))
            continue
        for mode in range(options.width if form >= 0 else 0):
            same = np.delete(options.ranks[rows] == options.ranks[row], mode, axis=1).all(1)
            line = rows[same]
            step = options.ranks[line, mode] - options.ranks[row, mode]
            for side in (line[step > 0], line[step < 0]):
                if len(side):
                    found.append(int(side[np.argmin(np.abs(options.ranks[side, mode] - options.ranks[row, mode]))]))
    return sorted(dict.fromkeys(found))
