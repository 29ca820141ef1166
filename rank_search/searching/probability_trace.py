"""What a relaxation writes into the trace of a step: the probabilities of a layer's ranks, as the report draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.tables.options import LayerOptions


def traced(
    options: LayerOptions,
    found: Mapping[str, tuple[IntArray, FloatArray]],
    dense: float,
    entropy: float,
    least: float = 0.0,
) -> dict[str, Any]:
    """Per form and mode the marginal probability of every rank.

    Args:
        options: of the layer.
        found: per form its ranks ``[n, modes]`` and their probabilities ``[n]``.
        dense: the probability of leaving the layer dense.
        entropy: of all of them, 0 to 1.
        least: ranks below this share of a uniform probability are left out.
    """
    forms = {}
    for form in options.forms:
        ranks, p = found[form.name]
        marginals = [_marginal(ranks[:, mode], p, least) for mode in range(len(form.modes))]
        forms[form.name] = {
            "modes": list(form.modes),
            "ranks": [values for values, _ in marginals],
            "p": [masses for _, masses in marginals],
            "full": list(form.largest_ranks(options.layer)),
        }
    return {"entropy": entropy, "dense": dense, "forms": forms}


def _marginal(ranks: IntArray, p: FloatArray, least: float) -> tuple[list[int], list[float]]:
    values, place = np.unique(ranks, return_inverse=True)
    mass = np.bincount(place.reshape(-1), p, minlength=len(values))
    kept = mass >= least / max(1, len(values))
    return values[kept].tolist(), np.round(mass[kept], 4).tolist()
