"""The relaxation's budget mode as a search: a plan within the budget after every round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rank_search.arrays import FloatArray
from rank_search.errors import DataError, EvaluationError
from rank_search.searching import Proposal
from rank_search.searching.option_values import boolean, one_of, whole
from rank_search.searching.probability_trace import traced
from rank_search.space import RankPlan
from rank_search.task import Task

from .budget_relaxation import BudgetRelaxation
from .nested_mixture import LayerMixture
from .output_loss import OutputLoss

CONVERGED_ENTROPY, CONVERGED_VIOLATION = 0.05, 0.01
DECAY = 0.9  # of the average of the outputs' gradients, per iteration
LOGGED = 0.1  # of a uniform probability: what is below is left out of the trace
NOISY_TAU, NOISY_DAMPING = 1e-3, 0.15  # a gradient of few images is not worth a sharper choice


class BudgetMode:
    """Rounds of :class:`BudgetRelaxation`; a proposal is the most probable options, polished within the budget.

    Polishing repairs a plan that is over the budget, fills it up, and changes two layers at a time while that helps
    (``space.improve``).

    Args:
        task: needs data for ``objective="outputs"``.
        seed: of the batches of ``objective="outputs"``.
        rounds: over which the relaxation becomes a choice.
        iterations: of a round.
        polish: whether plans are polished; else they are only projected onto the budget.
        objective: ``weights``, the sum of relative weight errors, as the knapsack's, is the score; or ``outputs``, the
            error of the whole network's outputs on unlabelled training images (:class:`OutputLoss`), which is no sum
            over layers. Its gradient, averaged over batches and scaled to the weight errors, takes the place of theirs;
            ``t`` weighs the spread of p. Plans are polished by its slopes, and both plans scored.
        batch_size: images of a gradient of ``objective="outputs"``.

    Raises:
        InvalidInputError: if an option is not allowed.
        DataError: if the objective needs data and the task has none.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("rounds", "iterations", "polish", "objective", "batch_size")

    def __init__(
        self,
        task: Task,
        seed: int,
        rounds: int = 16,
        iterations: int = 12,
        polish: bool = True,
        objective: str = "weights",
        batch_size: int = 64,
    ) -> None:
        self._task, self._seed, self._polish = task, seed, boolean("polish", polish)
        self._rounds = whole("rounds", rounds, 2)
        self._iterations = whole("iterations", iterations, 1)
        self._batch_size = whole("batch_size", batch_size, 2)
        self._by_outputs = one_of("objective", objective, ("weights", "outputs")) == "outputs"
        if self._by_outputs and task.data is None:
            raise DataError(
                "objective='outputs' needs unlabelled images, and this task has no data: give Task(..., data=...), or "
                "use objective='weights'"
            )
        self._relaxation: BudgetRelaxation | None = None
        self._outputs: OutputLoss | None = None
        self._average: list[FloatArray] = []
        self._plan: RankPlan | None = None
        if self._by_outputs:
            self._made()  # what cannot work is said before the search starts
        self.gave_up: str | None = None

    @property
    def done(self) -> bool:
        if self.gave_up is not None:
            return True
        return self._relaxation is not None and self._relaxation.round >= self._rounds

    def step(self) -> Proposal:
        space, budget = self._task.space, self._task.budget
        errors = self._task.relative_errors()
        relaxation = self._made()
        try:
            relaxation.run_round()
            plan, score = self._best_plan(relaxation, errors)
        except EvaluationError as error:
            self.gave_up = f"round {relaxation.round + 1}: {error}; use objective='weights', or look at the images"
            return Proposal(self._plan or space.project(space.dense, budget, errors), failure=self.gave_up)
        self._plan = plan
        return Proposal(plan, score, info=self._info(relaxation))

    def _best_plan(self, relaxation: BudgetRelaxation, errors: Sequence[FloatArray]) -> tuple[RankPlan, float]:
        """What is most probable, projected or polished, and its score."""
        space, budget = self._task.space, self._task.budget
        chosen = space.plan(relaxation.rows)
        plans: list[RankPlan] = []
        if not self._polish or self._outputs is not None:
            plans.append(space.project(chosen, budget, errors))
        if self._polish:
            values = errors if self._outputs is None else self._slopes(relaxation)
            plans.append(space.improve(values, budget, chosen, relaxation.multiplier))
        plans = list(dict.fromkeys(plans))
        scores = [self._score(plan) for plan in plans]
        best = int(np.argmin(scores))
        return plans[best], scores[best]

    def state_dict(self) -> dict[str, Any]:
        return {
            "relaxation": None if self._relaxation is None else self._relaxation.state_dict(),
            "average": list(self._average),
            "plan": None if self._plan is None else self._plan.to_dict(),
            "gave_up": self.gave_up,
            "drawn": None if self._outputs is None else self._outputs.stream.drawn,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._relaxation, self._average = None, list(state["average"])
        self._plan = None if state["plan"] is None else RankPlan.from_json(state["plan"])
        self.gave_up = state["gave_up"]
        if state["relaxation"] is not None:
            self._made().load_state_dict(state["relaxation"])
        if self._outputs is not None:
            self._outputs.stream.drawn = int(state["drawn"])

    def _made(self) -> BudgetRelaxation:
        if self._relaxation is None:
            task = self._task
            columns, _ = task.space.bounds(task.budget)
            self._mixtures = [LayerMixture(options, columns) for options in task.space.layers]
            if self._by_outputs:
                self._outputs = OutputLoss(task, self._mixtures, self._batch_size, self._seed)
            noisy: dict[str, Any] = {
                "gradient": self._outputs_gradient,
                "last_tau": NOISY_TAU,
                "damping": NOISY_DAMPING,
            }
            self._relaxation = BudgetRelaxation(
                task.space,
                task.budget,
                self._mixtures,
                self._rounds,
                self._iterations,
                **(noisy if self._by_outputs else {}),
            )
        return self._relaxation

    def _outputs_gradient(self, probabilities: Sequence[FloatArray], t: float) -> list[FloatArray]:
        """Of the outputs' error, in the size of the weight errors, plus t times the spread of p."""
        assert self._outputs is not None
        new = self._outputs.gradient(probabilities)
        pairs = list(zip(self._mixtures, probabilities, strict=True))
        scale = sum(float(p @ mixture.errors) for mixture, p in pairs) / max(self._outputs.value, 1e-12)
        new = [scale * gradient for gradient in new]
        old = self._average or new
        self._average = [DECAY * a + (1 - DECAY) * b for a, b in zip(old, new, strict=True)]
        return [
            average + t * (mixture.errors - mixture.mixture_gradient(p))
            for average, (mixture, p) in zip(self._average, pairs, strict=True)
        ]

    def _slopes(self, relaxation: BudgetRelaxation) -> list[FloatArray]:
        """The slopes of the last iteration for every option, from 0 on; inf for those that were left out."""
        found = []
        for options, mixture, slopes in zip(self._task.space.layers, self._mixtures, relaxation.slopes, strict=True):
            values = np.full(len(options), np.inf)
            values[mixture.rows] = slopes - slopes.min()
            found.append(values)
        return found

    def _score(self, plan: RankPlan) -> float:
        """The error of the outputs, or the sum of relative weight errors."""
        if self._outputs is not None:
            return self._outputs.of_plan(plan)
        return self._task.weight_error(plan)

    def _info(self, relaxation: BudgetRelaxation) -> dict[str, Any]:
        entropies, violation = relaxation.entropies, relaxation.violation
        probabilities = relaxation.probabilities
        mixed = [mixture.mixture_error(p) for mixture, p in zip(self._mixtures, probabilities, strict=True)]
        expected = [float(p @ mixture.errors) for mixture, p in zip(self._mixtures, probabilities, strict=True)]
        names = [options.layer.name for options in self._task.space.layers]
        metrics = self._task.budget.metrics
        multipliers = {f"multiplier_{m}": float(mu) for m, mu in zip(metrics, relaxation.multiplier, strict=True)}
        return {
            "round": relaxation.round,
            "entropy": float(np.mean(entropies)),
            "largest_entropy": max(entropies),
            "violation": violation,
            "converged": float(np.mean(entropies)) <= CONVERGED_ENTROPY and violation <= CONVERGED_VIOLATION,
            "output_error": None if self._outputs is None else self._outputs.value,
            "mixture_error": sum(mixed),
            "expected_error": sum(expected),
            **multipliers,
            "probabilities": {name: self._marginals(i, probabilities[i], entropies[i]) for i, name in enumerate(names)},
        }

    def _marginals(self, layer: int, p: FloatArray, spread: float) -> dict[str, Any]:
        options, rows = self._task.space.layers[layer], self._mixtures[layer].rows
        found = {}
        for position, form in enumerate(options.forms):
            inside = options.form[rows] == position
            found[form.name] = (options.ranks[rows[inside], : len(form.modes)], p[inside])
        return traced(options, found, dense=float(p[rows == 0].sum()), entropy=spread, least=LOGGED)
