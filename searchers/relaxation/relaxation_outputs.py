"""The relaxation by the error of the whole network's outputs, which is no sum over layers (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rank_search.arrays import FloatArray
from rank_search.errors import EvaluationError
from rank_search.searching import About
from rank_search.searching.option_values import whole
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .budget_relaxation import BudgetRelaxation
from .nested_mixture import LayerMixture
from .output_loss import OutputLoss
from .relaxation import Relaxation

DECAY = 0.9  # of the average of the outputs' gradients, per iteration
NOISY_TAU, NOISY_DAMPING = 1e-3, 0.15  # a gradient of few samples is not worth a sharper choice


class RelaxationOutputs(Relaxation):
    """The relaxation by the error of the whole network's outputs on unlabelled training samples (ours).

    The gradient of :class:`OutputLoss`, averaged over batches and scaled to the weight errors, takes the place of
    theirs; ``t`` weighs the spread of p. Plans are polished by its slopes, the projected and the polished one are both
    scored, and the score is that error.

    Args:
        rounds, iterations, polish: as in :class:`Relaxation`.
        batch_size: samples of a gradient.

    Raises:
        InvalidInputError: if an option is not allowed, or a layer has too many options that are not nested.
        DataError: if the task has no data.
    """

    needs_data: ClassVar[bool] = True
    about: ClassVar[About] = About("relaxation", "unlabelled", "after arXiv 2409.03555", "ours")

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        rounds: int = 16,
        iterations: int = 12,
        polish: bool = True,
        batch_size: int = 64,
    ) -> None:
        super().__init__(task, seed=seed, rounds=rounds, iterations=iterations, polish=polish)
        self._batch_size = whole("batch_size", batch_size, 2)
        self._average: list[FloatArray] = []
        self._outputs: OutputLoss
        self._made()  # what cannot work is said before the search starts

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "average": list(self._average), "drawn": self._outputs.stream.drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._average = list(state["average"])
        super().load_state_dict(state)
        self._made()
        self._outputs.stream.drawn = int(state["drawn"])

    def _make(self, mixtures: Sequence[LayerMixture]) -> BudgetRelaxation:
        self._outputs = OutputLoss(self.task, mixtures, self._batch_size, self.seed)
        return BudgetRelaxation(
            self.task.space,
            self.task.budget,
            mixtures,
            self._rounds,
            self._iterations,
            gradient=self._gradient,
            last_tau=NOISY_TAU,
            damping=NOISY_DAMPING,
        )

    def _best_plan(self, relaxation: BudgetRelaxation, errors: Sequence[FloatArray]) -> tuple[RankPlan, float]:
        space, budget = self.task.space, self.task.budget
        chosen = space.plan(relaxation.rows)
        plans = [space.project(chosen, budget, errors)]
        if self._polish:
            plans.append(space.improve(self._slopes(relaxation), budget, chosen, relaxation.multiplier))
        plans = list(dict.fromkeys(plans))
        try:
            scores = [self._outputs.of_plan(plan) for plan in plans]
        except EvaluationError as error:
            raise EvaluationError(f"{error}; use the searcher 'relaxation', or look at the samples") from None
        best = int(np.argmin(scores))
        return plans[best], scores[best]

    def _gradient(self, probabilities: Sequence[FloatArray], t: float) -> list[FloatArray]:
        """Of the outputs' error, in the size of the weight errors, plus t times the spread of p."""
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
        for options, mixture, slopes in zip(self.task.space.layers, self._mixtures, relaxation.slopes, strict=True):
            values = np.full(len(options), np.inf)
            values[mixture.rows] = slopes - slopes.min()
            found.append(values)
        return found

    def _info(self, relaxation: BudgetRelaxation) -> dict[str, Any]:
        return {**super()._info(relaxation), "output_error": self._outputs.value}
