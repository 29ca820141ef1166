"""The relaxation's budget mode as a search: a plan within the budget after every round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rank_search.searching import Proposal
from rank_search.searching.option_values import whole
from rank_search.space import METRICS
from rank_search.space.decomposition import FloatArray
from rank_search.task import Task

from .budget_relaxation import BudgetRelaxation
from .nested_mixture import LayerMixture

CONVERGED_ENTROPY, CONVERGED_VIOLATION = 0.05, 0.01
LOGGED = 0.1  # of a uniform probability: what is below is left out of the trace


class BudgetMode:
    """Rounds of :class:`BudgetRelaxation`; a proposal is the most probable options, polished within the budget.

    The score is the sum of relative weight errors, as the knapsack's. Polishing repairs a plan that is over the budget,
    fills it up, and changes two layers at a time while that helps (``space.improve``).

    Args:
        task: needs no data.
        seed: nothing is drawn.
        rounds: over which the relaxation becomes a choice.
        iterations: of a round.
        polish: whether plans are polished; else they are only projected onto the budget.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("rounds", "iterations", "polish")

    def __init__(self, task: Task, seed: int, rounds: int = 24, iterations: int = 12, polish: bool = True) -> None:
        self._task, self._polish = task, polish
        self._rounds = whole("rounds", rounds, 2)
        self._iterations = whole("iterations", iterations, 1)
        self._relaxation: BudgetRelaxation | None = None

    @property
    def done(self) -> bool:
        return self._relaxation is not None and self._relaxation.round >= self._rounds

    def step(self) -> Proposal:
        space, budget = self._task.space, self._task.budget
        errors = self._task.relative_errors()
        relaxation = self._made()
        relaxation.run_round()
        plan = space.plan(relaxation.rows)
        if self._polish:
            plan = space.improve(errors, budget, plan, relaxation.multiplier)
        else:
            plan = space.project(plan, budget)
        score = sum(float(error[row]) for error, row in zip(errors, space.indices(plan), strict=True))
        return Proposal(plan, score, info=self._info(relaxation))

    def state_dict(self) -> dict[str, Any]:
        return {"relaxation": None if self._relaxation is None else self._relaxation.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._relaxation = None
        if state["relaxation"] is not None:
            self._made().load_state_dict(state["relaxation"])

    def _made(self) -> BudgetRelaxation:
        if self._relaxation is None:
            columns = [METRICS.index(metric) for metric in self._task.budget.metrics]
            mixtures = [LayerMixture(options, columns) for options in self._task.space.layers]
            self._mixtures = mixtures
            self._relaxation = BudgetRelaxation(
                self._task.space, self._task.budget, mixtures, self._rounds, self._iterations
            )
        return self._relaxation

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
            "mixture_error": sum(mixed),
            "expected_error": sum(expected),
            **multipliers,
            "probabilities": {name: self._marginals(i, probabilities[i], entropies[i]) for i, name in enumerate(names)},
        }

    def _marginals(self, layer: int, p: FloatArray, spread: float) -> dict[str, Any]:
        """Per form and mode the probability of every rank, those below ``LOGGED`` left out."""
        options, rows = self._task.space.layers[layer], self._mixtures[layer].rows
        forms: dict[str, Any] = {}
        for position, form in enumerate(options.forms):
            inside = options.form[rows] == position
            ranks = options.ranks[rows[inside], : len(form.modes)]
            found: dict[str, Any] = {"modes": list(form.modes), "ranks": [], "p": []}
            for mode in range(len(form.modes)):
                values, place = np.unique(ranks[:, mode], return_inverse=True)
                mass = np.bincount(place.reshape(-1), p[inside], minlength=len(values))
                kept = mass >= LOGGED / max(1, len(values))
                found["ranks"].append(values[kept].tolist())
                found["p"].append(np.round(mass[kept], 4).tolist())
            forms[form.name] = {**found, "full": list(form.largest_ranks(options.layer))}
        return {"entropy": spread, "dense": float(p[rows == 0].sum()), "forms": forms}
