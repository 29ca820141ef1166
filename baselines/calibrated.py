"""The exact knapsack over errors that are calibrated by a few probes of the network's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rank_search.arrays import FloatArray
from rank_search.searching import About, RuleSearcher
from rank_search.searching.option_values import fraction, whole
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .single_layer import probed, spread

LEAST = 1e-12


class Calibrated(RuleSearcher):
    """Weight errors turned into distances of the outputs by probes of one layer at a time, summed by the knapsack.

    LEMS (ICML 2026) probes every layer once and extrapolates the distance in proportion to the error. That fails here:
    layers whose one probe hardly moves the outputs are cut to nothing (docs/methods.md). Ours: several probes per layer
    and form, from small to large errors, between which logarithms of distances are interpolated in the logarithm of
    the error; beyond the last probe it grows at least in proportion; and a share of the plain relative error, scaled to
    the same total, stays in the sum, because probes of single layers do not see what layers do together. LEMS's factor
    for depth is left out. The distance is the objective's (for classes the KL divergence of the logits).

    Args:
        probes: per layer and form.
        samples: unlabelled training samples of each probe.
        prior: the share of the plain relative error, 0 to 1.
    """

    about: ClassVar[About] = About("data-aware", "unlabelled", "LEMS (ICML 2026)", "reconstruction")

    def __init__(self, task: Oracles, *, seed: int, probes: int = 3, samples: int = 128, prior: float = 0.25) -> None:
        super().__init__(task, seed=seed)
        self._probes, self._samples = whole("probes", probes, 1), whole("samples", samples, 2)
        self._prior = fraction("prior", prior)

    def plans(self) -> Sequence[RankPlan]:
        space = self.task.space
        return [space.plan(space.minimise(self.values(), self.task.budget).indices)]

    def values(self) -> list[FloatArray]:
        """What the knapsack sums, an array ``[n]`` per layer: 0 for dense, inf where there is no fit."""
        errors = self.task.relative_errors()
        distances = self.distances(errors)
        finite = [np.isfinite(error) for error in errors]
        total = sum(float(d[ok].sum()) for d, ok in zip(distances, finite, strict=True))
        plain = sum(float(e[ok].sum()) for e, ok in zip(errors, finite, strict=True))
        scale = total / plain if plain > 0 and total > 0 else 1.0
        return [(1 - self._prior) * d + self._prior * scale * e for d, e in zip(distances, errors, strict=True)]

    def distances(self, errors: Sequence[FloatArray]) -> list[FloatArray]:
        """The predicted distance of every option alone, an array ``[n]`` per layer."""
        inputs = self.task.fixed_inputs(self._samples)
        dense = probed(self.task, 0, 0, inputs)
        found = []
        for layer, (options, error) in enumerate(zip(self.task.space.layers, errors, strict=True)):
            values = np.where(np.isfinite(error), 0.0, np.inf)
            for form in range(len(options.forms)):
                rows = np.flatnonzero((options.form == form) & np.isfinite(error))
                if not len(rows):
                    continue
                at = rows[spread(error[rows], self._probes)]
                measured = [
                    float(self.task.objective.distance(probed(self.task, layer, int(row), inputs), dense)) for row in at
                ]
                values[rows] = interpolated(error[rows], error[at], np.array(measured))
            found.append(values)
        return found


def interpolated(errors: FloatArray, probed_errors: FloatArray, measured: FloatArray) -> FloatArray:
    """Distances at other errors, never falling: linear in logarithms between the probes.

    Below the first probe in proportion to the error, beyond the last one at its slope, at least in proportion.

    Args:
        errors: where they are wanted.
        probed_errors: where they were measured.
        measured: the distances there; those that are not finite count as the largest finite one.
    """
    order = np.argsort(probed_errors, kind="stable")
    x = np.log(np.maximum(probed_errors[order], LEAST))
    y = measured[order]
    y = np.where(np.isfinite(y), y, np.max(y, initial=LEAST, where=np.isfinite(y)))
    y = np.log(np.maximum.accumulate(np.maximum(y, LEAST)))
    at = np.log(np.maximum(errors, LEAST))
    slope = max(1.0, (y[-1] - y[-2]) / max(x[-1] - x[-2], LEAST)) if len(x) > 1 else 1.0
    inside = np.interp(at, x, y)
    found = np.where(at < x[0], y[0] + (at - x[0]), np.where(at > x[-1], y[-1] + slope * (at - x[-1]), inside))
    return np.where(errors > 0, np.exp(found), 0.0)
