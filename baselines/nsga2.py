"""Two objectives at once: the loss and what the plan costs."""

from __future__ import annotations

from typing import ClassVar, Literal

import optuna

from rank_search.searching import About
from rank_search.searching.option_values import fraction, whole
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .optuna_searcher import RANKS, OptunaSearcher


class NSGA2(OptunaSearcher):
    """NSGA-II (Deb et al., 2002; Optuna's) on the validation loss and the kept cost, all within the budget.

    The answer is the plan of the lowest loss; the front is kept: :meth:`SearchResult.front`.

    Args:
        population: individuals of a generation.
        crossover, swap: probabilities of a crossover, and of a parameter to come from the other parent.
        coordinates, warm_start: see :class:`OptunaSearcher`.
    """

    about: ClassVar[About] = About("evolutionary", "labels", "Deb et al., 2002 (Optuna's NSGAIISampler)", "faithful")
    directions: ClassVar[tuple[Literal["minimize", "maximize"], ...]] = ("minimize", "minimize")

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        population: int = 8,
        crossover: float = 0.9,
        swap: float = 0.5,
        coordinates: str = RANKS,
        warm_start: str | None = None,
    ) -> None:
        super().__init__(task, seed=seed, coordinates=coordinates, warm_start=warm_start)
        self._population = whole("population", population, 2)
        self._crossover, self._swap = fraction("crossover", crossover), fraction("swap", swap)
        self._metric = task.budget.metrics[0]

    def objectives(self, plan: RankPlan, score: float) -> tuple[float, ...]:
        return score, self.task.admit(plan)[self._metric] / self.task.space.dense_cost[self._metric]

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.NSGAIISampler(
            population_size=self._population,
            crossover_prob=self._crossover,
            swapping_prob=self._swap,
            seed=seed,
        )
