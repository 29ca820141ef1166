"""The continuous relaxation under a budget: a softmax over every layer's options, made one option by the end (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rank_search.arrays import FloatArray
from rank_search.errors import EvaluationError
from rank_search.searching import About, Proposal, Searcher
from rank_search.searching.option_values import boolean, whole
from rank_search.searching.probability_trace import traced
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .budget_relaxation import BudgetRelaxation
from .nested_mixture import LayerMixture

CONVERGED_ENTROPY, CONVERGED_VIOLATION = 0.05, 0.01
LOGGED = 0.1  # of a uniform probability: what is below is left out of the trace


class Relaxation(Searcher):
    """Probabilities over the options of every layer, their expected cost held by multipliers, in closed form (ours).

    (The idea is that of arXiv 2409.03555, which has no budget: the searcher ``ortos`` is that method as published. The
    derivation is in docs/methods.md.) Rounds of :class:`BudgetRelaxation`; a proposal is the most probable options,
    polished within the budget: polishing repairs a plan that is over the budget, fills it up, and changes two layers at
    a time while that helps (``space.improve``). The score is the sum of relative weight errors, as the knapsack's.

    Args:
        rounds: over which the relaxation becomes a choice.
        iterations: of a round.
        polish: whether plans are polished; else they are only projected onto the budget.

    Raises:
        InvalidInputError: if an option is not allowed.
    """

    needs_data: ClassVar[bool] = False
    about: ClassVar[About] = About("relaxation", "weights", "after arXiv 2409.03555", "ours")
    renamed: ClassVar[Mapping[str, str]] = {
        "mode": "the published relaxation is the searcher 'ortos', this one is under the budget",
        "objective": "the error of the network's outputs is minimised by the searcher 'relaxation_outputs'",
    }

    def __init__(
        self, task: Oracles, *, seed: int, rounds: int = 16, iterations: int = 12, polish: bool = True
    ) -> None:
        super().__init__(task, seed=seed)
        self._polish = boolean("polish", polish)
        self._rounds = whole("rounds", rounds, 2)
        self._iterations = whole("iterations", iterations, 1)
        self._relaxation: BudgetRelaxation | None = None
        self._mixtures: list[LayerMixture] = []
        self._plan: RankPlan | None = None

    @property
    def done(self) -> bool:
        if self.gave_up is not None:
            return True
        return self._relaxation is not None and self._relaxation.round >= self._rounds

    def step(self) -> Proposal:
        space, budget = self.task.space, self.task.budget
        errors = self.task.relative_errors()
        relaxation = self._made()
        try:
            relaxation.run_round()
            plan, score = self._best_plan(relaxation, errors)
        except EvaluationError as error:
            self.gave_up = f"round {relaxation.round + 1}: {error}"
            return Proposal(self._plan or space.project(space.dense, budget, errors), failure=self.gave_up)
        self._plan = plan
        return Proposal(plan, score, info=self._info(relaxation))

    def state_dict(self) -> dict[str, Any]:
        return {
            "relaxation": None if self._relaxation is None else self._relaxation.state_dict(),
            "plan": None if self._plan is None else self._plan.to_dict(),
            "gave_up": self.gave_up,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._relaxation = None
        self._plan = None if state["plan"] is None else RankPlan.from_json(state["plan"])
        self.gave_up = state["gave_up"]
        if state["relaxation"] is not None:
            self._made().load_state_dict(state["relaxation"])

    def _best_plan(self, relaxation: BudgetRelaxation, errors: Sequence[FloatArray]) -> tuple[RankPlan, float]:
        """What is most probable, projected or polished, and its score."""
        space, budget = self.task.space, self.task.budget
        chosen = space.plan(relaxation.rows)
        if self._polish:
            plan = space.improve(errors, budget, chosen, relaxation.multiplier)
        else:
            plan = space.project(chosen, budget, errors)
        return plan, self.task.weight_error(plan)

    def _made(self) -> BudgetRelaxation:
        if self._relaxation is None:
            columns, _ = self.task.space.bounds(self.task.budget)
            self._mixtures = [LayerMixture(options, columns) for options in self.task.space.layers]
            self._relaxation = self._make(self._mixtures)
        return self._relaxation

    def _make(self, mixtures: Sequence[LayerMixture]) -> BudgetRelaxation:
        return BudgetRelaxation(self.task.space, self.task.budget, mixtures, self._rounds, self._iterations)

    def _info(self, relaxation: BudgetRelaxation) -> dict[str, Any]:
        entropies, violation = relaxation.entropies, relaxation.violation
        probabilities = relaxation.probabilities
        mixed = [mixture.mixture_error(p) for mixture, p in zip(self._mixtures, probabilities, strict=True)]
        expected = [float(p @ mixture.errors) for mixture, p in zip(self._mixtures, probabilities, strict=True)]
        names = [options.layer.name for options in self.task.space.layers]
        metrics = self.task.budget.metrics
        multipliers = {f"multiplier_{m}": float(mu) for m, mu in zip(metrics, relaxation.multiplier, strict=True)}
        return {
            "round": relaxation.round,
            "entropy": float(np.mean(entropies)),
            "largest_entropy": max(entropies),
            "violation": violation,
            "converged": float(np.mean(entropies)) <= CONVERGED_ENTROPY and violation <= CONVERGED_VIOLATION,
            "mixture_error": sum(mixed),
            "expected_error": sum(expected),
            **multipliers,
            "probabilities": {name: self._marginals(i, probabilities[i], entropies[i]) for i, name in enumerate(names)},
        }

    def _marginals(self, layer: int, p: FloatArray, spread: float) -> dict[str, Any]:
        options, rows = self.task.space.layers[layer], self._mixtures[layer].rows
        found = {}
        for position, form in enumerate(options.forms):
            inside = options.form[rows] == position
            found[form.name] = (options.ranks[rows[inside], : len(form.modes)], p[inside])
        return traced(options, found, dense=float(p[rows == 0].sum()), entropy=spread, least=LOGGED)
