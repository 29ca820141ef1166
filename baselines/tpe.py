"""Bayesian search with Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

from typing import ClassVar

import optuna

from rank_search.searching import About
from rank_search.searching.option_values import whole
from rank_search.task import Oracles

from .optuna_searcher import RANKS, OptunaSearcher


class TPE(OptunaSearcher):
    """TPE (Bergstra et al., NeurIPS 2011; Optuna's multivariate sampler).

    Args:
        startup: random asks before the first model.
        coordinates, warm_start: see :class:`OptunaSearcher`.
    """

    about: ClassVar[About] = About("Bayesian", "labels", "Bergstra et al., NeurIPS 2011 (Optuna)", "faithful")

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        startup: int = 10,
        coordinates: str = RANKS,
        warm_start: str | None = None,
    ) -> None:
        super().__init__(task, seed=seed, coordinates=coordinates, warm_start=warm_start)
        self._startup = whole("startup", startup, 1)

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return tpe_sampler(self._startup, seed)


def tpe_sampler(startup: int, seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler with all that decides pinned: its defaults change from version to version."""
    return optuna.samplers.TPESampler(
        n_startup_trials=startup,
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=False,
        seed=seed,
    )
