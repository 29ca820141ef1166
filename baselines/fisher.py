"""The knapsack over second-order changes of the loss instead of weight errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from rank_search.arrays import FloatArray
from rank_search.searching import About, RuleSearcher
from rank_search.searching.option_values import one_of, whole
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .loss_gradients import sample_gradients


class Fisher(RuleSearcher):
    """Least sum over layers of ``1/2 d^T F d`` within the budget, with ``d = W - What`` and the empirical Fisher F.

    Optimal Brain Damage's expansion (LeCun et al., NeurIPS 1989) with the Fisher for the Hessian (as FWSVD, Hsu et al.,
    ICLR 2022, weighs an SVD by it), solved by the exact knapsack (ours). Layers add up: F has no blocks between them.

    Args:
        samples: labelled training samples, each run forward and backward on its own.
        fisher: ``diagonal`` for ``F = diag(mean g^2)``; ``full`` for ``F = mean g g^T``.
    """

    about: ClassVar[About] = About(
        "data-aware", "labels", "LeCun et al., NeurIPS 1989; FWSVD (Hsu et al., ICLR 2022)", "ours"
    )

    def __init__(self, task: Oracles, *, seed: int, samples: int = 64, fisher: str = "full") -> None:
        super().__init__(task, seed=seed)
        self._samples = whole("samples", samples, 1)
        self._fisher = one_of("fisher", fisher, ("diagonal", "full"))

    def plans(self) -> Sequence[RankPlan]:
        space = self.task.space
        return [space.plan(space.minimise(self.changes(), self.task.budget).indices)]

    def changes(self) -> list[FloatArray]:
        """``1/2 d^T F d`` of every option, an array ``[n]`` per layer; inf where there is no fit."""
        errors = self.task.relative_errors()
        gradients = sample_gradients(self.task, self._samples, self.seed)
        found = []
        for layer, (error, gradient) in enumerate(zip(errors, gradients, strict=True)):
            dense = self.task.approximation(layer, 0)
            squares = gradient.double().square().mean(0)
            values = np.where(np.isfinite(error), 0.0, np.inf)
            for option in np.flatnonzero(np.isfinite(error))[1:].tolist():
                change = (dense - self.task.approximation(layer, option)).reshape(-1)
                if self._fisher == "full":
                    values[option] = float((gradient.double() @ change).square().mean()) / 2
                else:
                    values[option] = float(torch.dot(squares, change.square())) / 2
            found.append(values)
        return found
