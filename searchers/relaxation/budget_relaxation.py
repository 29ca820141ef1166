"""The relaxation under a budget: probabilities over options, their expected cost held by multipliers (ours).

    minimise  f_t(p) - tau sum_l H(p_l)    s.t.  sum_l p_l . c_l <= B      for every bounded metric

with ``f_t = (1 - t) (error of the mixture) + t (expected error of one option)``. At t = 0 that is the superposition of
the paper, whose optimum mixes options that no single one can replace; at t = 1 it is linear and its optimum stands on
single options. From round to round t rises from 0 to 1 and the temperature tau falls. A step moves the logits part of
the way to the fixed point ``p_l = softmax(-(grad f_t + mu c_l) / tau)``; the multipliers of the augmented Lagrangian
follow ``mu <- max(0, mu + rho h)`` with the relative violation h and, as penalty, the inverse of the dual's curvature,
``rho = tau / sum_l Var_p(c_l / B)``. As p comes to stand on single options the curvature goes to 0 and the
multipliers swing, which tries different plans; after the last round they are solved for exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rank_search.arrays import FloatArray, IntArray
from rank_search.space import Budget, RankSpace

from .nested_mixture import LayerMixture

Gradient = Callable[[Sequence[FloatArray], float], list[FloatArray]]
"""From p of every layer, and t, to the gradient of what is minimised in p of every layer."""

FIRST_TAU, LAST_TAU = 0.1, 1e-5
SWEEPS, BISECTIONS = 5, 60
DAMPING = 0.3
REACH, FLOOR = 0.2, 0.01
"""A step changes a multiplier by at most so much of it; from so much per layer on it counts as at least that."""


class BudgetRelaxation:
    """p of every layer, the multipliers, and one round of steps.

    Args:
        space, budget: where plans are chosen.
        mixtures: of the layers.
        rounds: over which t rises and tau falls.
        iterations: of a round.
        gradient: of what is minimised in place of the weight errors; None takes theirs.
        last_tau: the temperature of the last round.
        damping: how much of the way to the fixed point a step goes.

    Attributes:
        round: rounds done.
        multiplier: per bounded metric, loss per cost as a fraction of what the budget leaves the layers.
        slopes: the gradient in p of the last iteration, without the costs.
    """

    def __init__(
        self,
        space: RankSpace,
        budget: Budget,
        mixtures: Sequence[LayerMixture],
        rounds: int,
        iterations: int,
        gradient: Gradient | None = None,
        last_tau: float = LAST_TAU,
        damping: float = DAMPING,
    ) -> None:
        self._mixtures, self._rounds, self._iterations = mixtures, rounds, iterations
        self._last_tau, self._damping, self._exact = last_tau, damping, gradient is None
        self._gradient = gradient or self._weights_gradient
        _, room = space.bounds(budget)
        self._costs: list[FloatArray] = [mixture.costs / np.maximum(room, 1.0) for mixture in mixtures]
        self._logits: list[FloatArray] = [np.zeros(len(mixture.rows)) for mixture in mixtures]
        self.multiplier: FloatArray = np.zeros(len(room))
        self.slopes: list[FloatArray] = []
        self.round = 0

    @property
    def probabilities(self) -> list[FloatArray]:
        """p of every layer, ``[n]``."""
        return [_softmax(logits) for logits in self._logits]

    @property
    def rows(self) -> IntArray:
        """The most probable option of every layer."""
        pairs = zip(self._mixtures, self._logits, strict=True)
        return np.array([mixture.rows[int(np.argmax(logits))] for mixture, logits in pairs], dtype=np.int64)

    @property
    def entropies(self) -> list[float]:
        """Per layer the entropy of p over the log of the number of options, 0 to 1."""
        return [entropy(p) for p in self.probabilities]

    @property
    def violation(self) -> float:
        """How far an expected cost is from where an optimum has it, relative to the budget; the worst metric's.

        An optimum has it at the budget where the multiplier is positive, and not above it elsewhere.
        """
        excess = self._excess(self.probabilities)
        return float(np.where(self.multiplier > 0, np.abs(excess), np.maximum(excess, 0.0)).max())

    @property
    def schedule(self) -> tuple[float, float]:
        """``t`` and ``tau`` of the next round."""
        done = min(self.round / max(1, self._rounds - 1), 1.0)
        return min(1.0, 1.25 * done), FIRST_TAU * (self._last_tau / FIRST_TAU) ** done

    def run_round(self) -> None:
        """The steps of one round."""
        t, tau = self.schedule
        for _ in range(self._iterations):
            p = self.probabilities
            excess, curvature = self._excess(p), self._curvature(p) / tau
            reach = REACH * np.maximum(self.multiplier, FLOOR * len(self._mixtures))
            self.multiplier = np.maximum(
                0.0, self.multiplier + np.clip(excess / np.maximum(curvature, 1e-6), -reach, reach)
            )
            self.slopes = self._gradient(p, t)
            for i, costs in enumerate(self._costs):
                gradient = self.slopes[i] + costs @ self.multiplier
                moved = (1 - self._damping) * self._logits[i] - self._damping * gradient / tau
                self._logits[i] = moved - moved.max()
        self.round += 1
        if self.round >= self._rounds and self._exact:
            self._settle()

    def _settle(self) -> None:
        """The multipliers that meet the budget at the last slopes and temperature, by bisection in turn."""
        tau = self._last_tau
        for _ in range(1 if len(self.multiplier) == 1 else SWEEPS):
            for metric in range(len(self.multiplier)):
                low, high = 0.0, 2 * float(self.multiplier[metric]) + 1e-3
                while self._settled(metric, high, tau) > 0 and high < 1e9:
                    low, high = high, 2 * high
                if self._settled(metric, 0.0, tau) <= 0:
                    high = 0.0
                for _ in range(BISECTIONS if high else 0):
                    middle = (low + high) / 2
                    low, high = (middle, high) if self._settled(metric, middle, tau) > 0 else (low, middle)
                self._settled(metric, high, tau)

    def _settled(self, metric: int, multiplier: float, tau: float) -> float:
        """Moves p to where it belongs under a multiplier; returns the metric's excess there."""
        self.multiplier = np.where(np.arange(len(self.multiplier)) == metric, multiplier, self.multiplier)
        for i, costs in enumerate(self._costs):
            self._logits[i] = -(self.slopes[i] + costs @ self.multiplier) / tau
        return float(self._excess(self.probabilities)[metric])

    def state_dict(self) -> dict[str, Any]:
        return {"round": self.round, "multiplier": self.multiplier, "logits": list(self._logits)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.round, self.multiplier = int(state["round"]), state["multiplier"]
        self._logits = list(state["logits"])

    def _weights_gradient(self, probabilities: Sequence[FloatArray], t: float) -> list[FloatArray]:
        """Of ``f_t`` in p of every layer."""
        return [
            mixture.errors if t == 1 else (1 - t) * mixture.mixture_gradient(p) + t * mixture.errors
            for mixture, p in zip(self._mixtures, probabilities, strict=True)
        ]

    def _excess(self, probabilities: Sequence[FloatArray]) -> FloatArray:
        """Per metric the expected cost as a fraction of the room, less 1."""
        spent: FloatArray = np.sum([p @ costs for p, costs in zip(probabilities, self._costs, strict=True)], axis=0)
        return spent - 1

    def _curvature(self, probabilities: Sequence[FloatArray]) -> FloatArray:
        """Per metric the variance of the cost under p, summed over layers."""
        total = np.zeros(len(self.multiplier))
        for p, costs in zip(probabilities, self._costs, strict=True):
            total += np.maximum(p @ costs**2 - (p @ costs) ** 2, 0.0)
        return total


def entropy(p: FloatArray) -> float:
    """The entropy of p over the log of its length, 0 to 1."""
    if len(p) < 2:
        return 0.0
    inside = p[p > 0]
    return max(0.0, min(1.0, float(-(inside * np.log(inside)).sum() / np.log(len(p)))))


def _softmax(logits: FloatArray) -> FloatArray:
    raised = np.exp(logits - logits.max())
    found: FloatArray = raised / raised.sum()
    return found
