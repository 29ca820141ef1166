"""Bayesian search with Optuna's Gaussian processes."""

from __future__ import annotations

import warnings
from typing import ClassVar

import optuna

from rank_search.searching import About
from rank_search.searching.option_values import whole
from rank_search.task import Oracles

from .optuna_searcher import RANKS, OptunaSearcher


class GP(OptunaSearcher):
    """A Gaussian process with a Matern 5/2 kernel and expected improvement (Jones et al., 1998; Optuna's GPSampler).

    Args:
        startup: random asks before the first model.
        coordinates, warm_start: see :class:`OptunaSearcher`.
    """

    about: ClassVar[About] = About("Bayesian", "labels", "Jones et al., 1998 (Optuna's GPSampler)", "faithful")

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        startup: int = 10,
        coordinates: str = RANKS,
        warm_start: str | None = None,
    ) -> None:
        super().__init__(task, seed=seed, coordinates=coordinates, warm_start=warm_start, repeats=1)
        self._startup = whole("startup", startup, 1)

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return gp_sampler(self._startup, seed)


def gp_sampler(startup: int, seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler for evaluations without noise, which is an experimental option of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.GPSampler(n_startup_trials=startup, deterministic_objective=True, seed=seed)
