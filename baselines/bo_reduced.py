"""Bayesian search in a few coordinates around the knapsack's plan."""

from __future__ import annotations

from typing import ClassVar

import optuna

from rank_search.searching import About
from rank_search.searching.option_values import one_of, whole
from rank_search.task import Oracles

from .gp import gp_sampler
from .optuna_searcher import REDUCED, OptunaSearcher
from .tpe import tpe_sampler


class BOReduced(OptunaSearcher):
    """TPE or a Gaussian process over what the knapsack is told that errors weigh: per stage, per form, and an exponent.

    Starts at the data-free optimum. (Ours: dozens of ranks and a few dozen evaluations do not go together.)

    Args:
        model: ``gp`` or ``tpe``.
        startup: asks before the first model, that of the data-free optimum among them.
        warm_start: ``knapsack``, or null to draw the first points.
    """

    about: ClassVar[About] = About("Bayesian", "labels", "", "ours")

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        model: str = "tpe",
        startup: int = 8,
        warm_start: str | None = "knapsack",
    ) -> None:
        self._model = one_of("model", model, ("gp", "tpe"))
        repeats = 1 if self._model == "gp" else 3
        super().__init__(task, seed=seed, coordinates=REDUCED, warm_start=warm_start, repeats=repeats)
        self._startup = whole("startup", startup, 1)

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return gp_sampler(self._startup, seed) if self._model == "gp" else tpe_sampler(self._startup, seed)
