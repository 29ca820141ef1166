"""The rank space of a model: what may be chosen, what it costs, and how to move in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import InfeasibleBudgetError, LayerSelectionError, OverBudgetError, PlanError
from rank_search.listening import tell
from rank_search.nests import Nest, mapped
from rank_search.plugins import nearest
from rank_search.space import suggestion, tune_space
from rank_search.space.budget import Budget
from rank_search.space.compress import refuse_compressed, replace_layers
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.layers.factor_cache import FactorCache
from rank_search.space.layers.layer import KINDS
from rank_search.space.layers.selection import select
from rank_search.space.layers.trace import trace
from rank_search.space.measured import MeasuredSolution, Values, minimise_measured
from rank_search.space.metrics.metric import Metric, MetricSpec, checked_number, make_metrics
from rank_search.space.plan import Choice, RankPlan
from rank_search.space.replaceable import why_not_replaceable
from rank_search.space.solver.knapsack import Solution, improve, solve
from rank_search.space.tables import moves
from rank_search.space.tables.build import FormSpec, build_tables, forms_without_layer, make_forms
from rank_search.space.tables.options import LayerOptions

INDEXED = 256  # plans whose rows are remembered


class RankSpace:
    """The option tables of a model. A population of plans is an int array of option rows, ``[plans, layers]``.

    Build it with :meth:`from_model`.

    Attributes:
        layers: the tables, in the model's order.
        skipped: every other convolution, linear or attention layer with the reason why it stays as it is.
        metrics: what a plan costs; the columns of every table of costs.
        metric_names: their names.
        dense_cost: cost of the whole dense network per metric.
        fixed_cost: the part of it that no plan changes.
        sample: the input that fixes the costs, one sample; None if the space was not built from a model.
        not_counted: operators that the network runs and of which no multiply-adds are known: they are in no cost.
    """

    def __init__(
        self,
        layers: Sequence[LayerOptions],
        skipped: Mapping[str, str],
        metrics: Sequence[Metric],
        fixed_cost: Mapping[str, int],
        sample: Nest = None,
        not_counted: Sequence[str] = (),
    ) -> None:
        self.layers = tuple(layers)
        self.skipped = dict(skipped)
        self.metrics = tuple(metrics)
        self.metric_names = tuple(metric.name for metric in self.metrics)
        self.fixed_cost = dict(fixed_cost)
        self.sample, self.not_counted = sample, tuple(not_counted)
        dense = np.sum([options.costs[0] for options in self.layers], axis=0)
        self.dense_cost = {name: fixed_cost[name] + int(dense[m]) for m, name in enumerate(self.metric_names)}
        self._position = {options.layer.name: i for i, options in enumerate(self.layers)}
        self._indexed: dict[tuple[RankPlan, tuple[str, ...]], IntArray] = {}  # a plan is looked up many times in a row
        self._fixed = np.array([self.fixed_cost[name] for name in self.metric_names], dtype=np.int64)

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        example_input: Nest,
        forms: Iterable[FormSpec] | None = None,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        cache: str | Path | None = None,
        covariances: Mapping[str, Tensor] | None = None,
        prune: bool = False,
        multiple_of: int = 1,
        max_options: int | None = None,
        metrics: Iterable[MetricSpec] = (),
        moments: Mapping[str, Tensor] | None = None,
        align: bool | int = False,
    ) -> RankSpace:
        """Reads the layers of a model.

        Args:
            model: the trained dense network; not changed.
            example_input: ``[N, ...]``, or a tuple or mapping of such tensors, as the model is called: ``model(x)``,
                ``model(*xs)``, ``model(**xs)``. The first sample fixes the costs.
            forms: decompositions by name, or ``{name: {option: value}}``; the options of all of them stand in one
                table per layer. None means ``tucker2`` and ``svd``.
            include, exclude: shell-style patterns of layer names; each must match something.
            cache: folder for decompositions, keyed by the weight's hash; None keeps them in memory.
            covariances: from :func:`input_covariances`; errors are then those of the layers' outputs and every form
                decomposes in that metric. None means the weight's own error.
            prune: leaves out options than which another one of their form costs no more on every metric and errs no
                more. It decomposes every layer at once.
            multiple_of: leaves out ranks that are no multiple of it, except the smallest and largest of a form.
            max_options: of a layer, dense among them; evenly spaced in cost.
            metrics: what is counted beside ``params`` and ``macs``: names such as ``bytes``, ``module:Class``, or
                :class:`Metric` objects.
            moments: from :func:`patch_moments`; errors are then those of the layers' outputs that remain after the
                last factor is refitted, while every form still decomposes the weight itself. A layer that it lacks
                keeps the weight's own error.
            align: leaves out options that take longer than the dense layer, and those with ranks that do not fill the
                machine's width (or so many channels) where larger ones that do take no longer; needs a time among the
                metrics (``rank_search.Latency``).

        Raises:
            UnknownNameError, LayerSelectionError, WeightsError, CovarianceError, InvalidInputError: see their messages.
        """
        kinds, counted = make_forms(forms), make_metrics(metrics)
        refuse_compressed(model)
        traced = trace(model, example_input)
        counted = tuple(metric.of_network(model, example_input) for metric in counted)
        names = [name for name in dict(model.named_modules()) if name in traced.layers or name in traced.skipped]
        if not names:
            raise LayerSelectionError(
                f"{type(model).__name__} has no convolution and no linear layer: nothing to decompose"
            )
        left_out = select(names, include, exclude)
        left_out |= why_not_replaceable(
            model, example_input, traced, [name for name in traced.layers if name not in left_out]
        )
        unused = forms_without_layer(kinds, traced, left_out) if len(kinds) > 1 and forms is not None else {}
        for form, reason in unused.items():
            raise LayerSelectionError(
                f"the form {form!r} fits no layer of {type(model).__name__} ({reason}): take it out of forms"
            )
        store = FactorCache(Path(cache) if cache is not None else None)
        tables, skipped = build_tables(
            model,
            traced,
            names,
            left_out,
            kinds,
            store,
            covariances,
            moments,
            prune,
            multiple_of,
            max_options,
            counted,
            align,
        )
        if not tables:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
            more = f" (and {len(skipped) - 3} more)" if len(skipped) > 3 else ""
            raise LayerSelectionError(f"no layer of {type(model).__name__} can be decomposed: {reasons}{more}")
        layers = [options.layer for options in tables]
        fixed = {m.name: checked_number(m, m.rest(model, example_input, layers)) for m in counted}
        sample = mapped(example_input, lambda tensor: tensor[:1].detach().clone())
        return cls(tables, skipped, counted, fixed, sample, traced.not_counted)

    def with_tables(self, layers: Sequence[LayerOptions]) -> RankSpace:
        """The same space with other tables of the same layers, e.g. those of fewer options."""
        return RankSpace(layers, self.skipped, self.metrics, self.fixed_cost, self.sample, self.not_counted)

    def recounted(self, model: nn.Module) -> RankSpace:
        """The same space with its costs counted again, for metrics that have learned more (a time, measured since).

        Args:
            model: the dense network.
        """
        layers = [options.recounted() for options in self.layers]
        known = [options.layer for options in layers]
        fixed = {m.name: checked_number(m, m.rest(model, self.sample, known)) for m in self.metrics if not m.exact}
        return RankSpace(
            layers, self.skipped, self.metrics, {**self.fixed_cost, **fixed}, self.sample, self.not_counted
        )

    def __repr__(self) -> str:
        costs = ", ".join(f"{metric} {cost:,}" for metric, cost in self.dense_cost.items())
        return f"RankSpace({len(self.layers)} layers, about 10^{len(str(self.size)) - 1} plans, dense: {costs})"

    @property
    def size(self) -> int:
        """The number of plans, an exact integer."""
        return math.prod(len(options) for options in self.layers)

    @property
    def width(self) -> int:
        """The length ``d`` of an encoded plan."""
        return sum(moves.vector_width(options) for options in self.layers)

    # -- plans and rows ------------------------------------------------------------------------------------------------

    def indices(self, plan: RankPlan) -> IntArray:
        """The rows of a plan, ``[layers]``, not to be written to; a layer that the plan does not name is dense.

        Raises:
            PlanError: if the plan names a layer or option that this space does not have.
        """
        key = plan, tuple(plan)  # equal plans may spell out different dense layers
        known = self._indexed.get(key)
        if known is None:
            known = self._rows_of(plan)
            known.flags.writeable = False
            if len(self._indexed) >= INDEXED:
                self._indexed = {}
            self._indexed[key] = known
        return known

    def _rows_of(self, plan: RankPlan) -> IntArray:
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
        """What the whole network costs under the plan, per metric (for one sample)."""
        return dict(zip(self.metric_names, self.costs(self.indices(plan)[None])[0].tolist(), strict=True))

    def costs(self, plans: IntArray) -> IntArray:
        """Costs of a population: ``[plans, layers]`` rows to ``[plans, metrics]``, a column per metric."""
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
        self.require_reachable(budget)
        self.minimise([np.zeros(len(options)) for options in self.layers], budget)

    def require_reachable(self, budget: Budget) -> None:
        """Checks that some plan meets each bound of the budget, taken alone; nothing is decomposed for it.

        Raises:
            InfeasibleBudgetError: if none does; says the smallest reachable cost.
        """
        least = self.smallest_cost
        for metric, limit in budget.limits(self.dense_cost).items():
            if least[metric] > limit:
                share = math.ceil(least[metric] / self.dense_cost[metric] * 1e4) / 1e4
                raise InfeasibleBudgetError(
                    f"no plan of this space meets the budget {budget}: the smallest reachable is {least[metric]} "
                    f"{metric}, {share} of the dense network{self._why_not_less()}; give at least {metric}={share}"
                )

    def _why_not_less(self) -> str:
        """The layers that stay dense, for messages."""
        if not self.skipped:
            return ""
        name, reason = next(iter(self.skipped.items()))
        count = len(self.skipped)
        return f" ({count} layer{'s' * (count > 1)} left dense, the first: {name}: {reason})"

    @property
    def smallest_cost(self) -> dict[str, int]:
        """The smallest reachable cost per metric, each on its own; options known to have no fit do not count."""
        return self._smallest([options.fitting for options in self.layers])

    def _smallest(self, allowed: Sequence[NDArray[np.bool_]]) -> dict[str, int]:
        """The smallest cost per metric among these options of every layer."""
        least = self._fixed + sum(options.costs[ok].min(0) for options, ok in zip(self.layers, allowed, strict=True))
        return dict(zip(self.metric_names, least.tolist(), strict=True))

    def minimise(self, values: Sequence[FloatArray], budget: Budget) -> Solution:
        """The plan of least total value within the budget, with a lower bound (see ``space.knapsack``).

        Args:
            values: one value per option of every layer; inf forbids an option.
            budget: the bound on the whole network's cost.

        Raises:
            InfeasibleBudgetError: if no feasible plan was found.
        """
        columns, capacity = self.bounds(budget)
        costs: list[FloatArray] = [options.costs[:, columns].astype(np.float64) for options in self.layers]
        solution = solve(values, costs, capacity)
        if solution is None:
            least = self._smallest([np.isfinite(value) for value in values])
            raise InfeasibleBudgetError(
                f"no plan of this space meets the budget {budget}; the smallest reachable, each on its own: "
                + ", ".join(f"{k} {v / self.dense_cost[k]:.4f}" for k, v in least.items())
                + self._why_not_less()
            )
        return solution

    def minimise_measured(self, budget: Budget, values: Values = list) -> MeasuredSolution:
        """The plan of least total error within the budget, each option that it chose measured (see ``measured.py``).

        Where a form interpolates its tables (``cp``) the chosen options and their neighbours are fitted, and the
        problem is solved again, until nothing chosen is interpolated; elsewhere it is one :meth:`minimise`.

        Args:
            budget: the bound on the whole network's cost.
            values: from the relative errors of all layers to the values that are summed; the errors unless given.

        Raises:
            InfeasibleBudgetError: if no feasible plan was found.
        """
        return minimise_measured(self, budget, values)

    def improve(
        self, values: Sequence[FloatArray], budget: Budget, start: RankPlan, multiplier: FloatArray
    ) -> RankPlan:
        """A plan within the budget near a given one, of less total value where single and paired changes find it.

        Args:
            values, budget: as in :meth:`minimise`.
            start: a plan of this space, over the budget or not.
            multiplier: per bounded metric, value per cost as a fraction of what the budget leaves the layers.
        """
        columns, capacity = self.bounds(budget)
        costs: list[FloatArray] = [options.costs[:, columns].astype(np.float64) for options in self.layers]
        found = improve(values, costs, capacity, self.indices(start), multiplier)
        return self.project(start, budget, values) if found is None else self.plan(found)

    def bounds(self, budget: Budget) -> tuple[list[int], FloatArray]:
        """Columns (of ``LayerOptions.costs``) of the bounded metrics, and what the budget leaves the layers of each."""
        limits = budget.limits(self.dense_cost)
        capacity = [limits[metric] - self.fixed_cost[metric] for metric in budget.metrics]
        return [self.metric_names.index(metric) for metric in budget.metrics], np.array(capacity, dtype=np.float64)

    # -- errors --------------------------------------------------------------------------------------------------------

    def relative_errors(self) -> list[FloatArray]:
        """``||W - What||^2 / ||W||^2`` of every option, one array per layer."""
        found = []
        for place, options in enumerate(self.layers):
            tell("decomposing layers", place, len(self.layers))
            found.append(options.errors / max(options.energy, 1e-300))
        tell("decomposing layers", len(self.layers), len(self.layers))
        return found

    def compress(self, model: nn.Module, plan: RankPlan) -> nn.Module:
        """A copy of the model under the plan, from cached factors of this space's weights.

        Raises:
            PlanError: if the plan is not one of this space.
        """
        rows = dict(zip(self._position, self.indices(plan).tolist(), strict=True))

        def build(name: str, choice: Choice, module: nn.Module) -> LowRank:
            options, row = self.layers[self._position[name]], rows[name]
            if type(module) not in KINDS or getattr(module.weight, "shape", None) != options.layer.shape:
                raise PlanError(f"layer {name!r} of this model is not the one that the space was built from")
            low_rank = options.forms[int(options.form[row])].skeleton(module, choice.ranks)
            low_rank.fill(options.factors(row), module)
            return low_rank

        return replace_layers(model, plan, build)

    # -- moving --------------------------------------------------------------------------------------------------------

    def encode(self, plan: RankPlan) -> FloatArray:
        """The plan as a vector in ``[0, 1]^width``; :meth:`decode` gives the same plan back."""
        return moves.encode(self.layers, self.indices(plan))

    def decode(self, vector: FloatArray) -> RankPlan:
        """The plan whose options lie nearest to a vector in ``[0, 1]^width``; the budget is not looked at.

        Per layer the vector holds the form (a bin of [0, 1], only where a layer has several) and one coordinate per
        mode: the place of the rank among those offered, 1 at every mode for the dense layer.
        """
        vector = np.asarray(vector, dtype=np.float64)
        if vector.shape != (self.width,) or not np.isfinite(vector).all():
            raise PlanError(f"an encoded plan is a finite vector of length {self.width}, not {vector.shape}")
        return self.plan(moves.decode(self.layers, vector))

    def project(self, plan: RankPlan, budget: Budget, values: Sequence[FloatArray] | None = None) -> RankPlan:
        """The plan itself if it meets the budget, else a plan near it that does.

        Near is in the coordinates of :meth:`encode`: the sum over layers of squared steps; changing a layer's
        form costs a fixed price plus the squared relative change of its first metric, the parameters. It is a knapsack
        with that distance as its value. Options whose ``values`` are not finite (fits that failed) are not taken.
        """
        rows = self.indices(plan)
        limits = budget.limits(self.dense_cost)
        cost = dict(zip(self.metric_names, self.costs(rows[None])[0], strict=True))
        allowed = [np.isfinite(v) for v in values or [np.zeros(len(options)) for options in self.layers]]
        taken = all(ok[row] for ok, row in zip(allowed, rows, strict=True))
        if taken and all(cost[metric] <= limit for metric, limit in limits.items()):
            return self.plan(rows)
        steps = [
            np.where(ok, moves.distances(options, row), np.inf)
            for options, row, ok in zip(self.layers, rows, allowed, strict=True)
        ]
        return self.plan(self.minimise(steps, budget).indices)

    def random_plan(self, rng: np.random.Generator, budget: Budget) -> RankPlan:
        """A plan drawn uniformly in the coordinates of :meth:`encode`, then projected onto the budget."""
        return self.project(self.decode(rng.random(self.width)), budget)

    def adjacent(self, layer: int, row: int) -> list[int]:
        """The options of one layer that are one step from an option, as :meth:`neighbours` takes them."""
        return moves.adjacent(self.layers[layer], row)

    def neighbours(self, plan: RankPlan) -> list[RankPlan]:
        """All plans one step away: one rank to the next offered one, or one layer's form changed at similar cost."""
        rows = self.indices(plan)
        found = []
        for i in range(len(self.layers)):
            for row in self.adjacent(i, int(rows[i])):
                changed = rows.copy()
                changed[i] = row
                found.append(self.plan(changed))
        return found

    def feasible_plans(self, budget: Budget, chunk: int = 4096) -> Iterator[RankPlan]:
        """Every plan within the budget, in a fixed order; meant for small spaces."""
        limits = budget.limits(self.dense_cost)
        columns = [self.metric_names.index(metric) for metric in budget.metrics]
        bound = np.array([limits[metric] for metric in budget.metrics])
        for start in range(0, self.size, chunk):
            flat = np.arange(start, min(start + chunk, self.size))
            population = np.empty((len(flat), len(self.layers)), dtype=np.int64)
            for i in reversed(range(len(self.layers))):  # the last layer changes fastest
                flat, population[:, i] = np.divmod(flat, len(self.layers[i]))
            inside = (self.costs(population)[:, columns] <= bound).all(1)
            for rows in population[inside]:
                yield self.plan(rows)

    # -- other people's optimisers ---------------------------------------------------------------------------------

    def suggest(self, trial: Any, budget: Budget) -> RankPlan:
        """A plan for a trial of an Optuna study, within the budget, none twice (see :func:`suggestion.suggest`).

        Raises:
            InfeasibleBudgetError: if no plan meets the budget, or all were suggested; ``study.optimize`` ends then.
        """
        return suggestion.suggest(self, trial, budget)

    def plan_of_trial(self, trial: Any) -> RankPlan:
        """The plan that :meth:`suggest` gave a trial, e.g. ``study.best_trial``.

        Raises:
            PlanError: if it gave none.
        """
        return suggestion.plan_of_trial(self, trial)

    def tune_space(self) -> dict[str, Any]:
        """The space for ``Tuner(param_space=...)`` of Ray Tune, under the one key ``ranks``; needs Ray."""
        return tune_space.tune_space(self)

    def plan_of_config(self, config: Mapping[str, Any], budget: Budget) -> RankPlan:
        """The plan within the budget of a configuration of :meth:`tune_space`.

        Raises:
            PlanError: if it has no ranks of this space.
        """
        return tune_space.plan_of_config(self, config, budget)
