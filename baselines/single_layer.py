"""Probes: the dense network with one layer replaced by one of its options, batch norms on the batch's statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rank_search.arrays import FloatArray, IntArray
from rank_search.nests import Nest
from rank_search.task import Oracles


def probed(task: Oracles, layer: int, option: int, inputs: Nest) -> Any:
    """The outputs with one layer replaced, on inputs of the task; charged as forward samples.

    Args:
        task: of the network.
        layer: its place in ``space.layers``.
        option: its row there; 0 gives what the others are compared with.
        inputs: as :meth:`Oracles.fixed_inputs` gives them.
    """
    weights = {task.space.layers[layer].layer.name: task.approximation(layer, option)}
    with torch.no_grad():  # the network is the task's: its buffers may not become inference tensors
        return task.outputs_with(weights, inputs, batch_statistics=True)


def frontier(cost: FloatArray, error: FloatArray, of: IntArray) -> IntArray:
    """Those of the rows that no other one of them beats on cost and error, by falling cost.

    Args:
        cost, error: of every option of a layer.
        of: rows to choose from; those without a finite error are left out.
    """
    rows = of[np.isfinite(error[of])]
    rows = rows[np.lexsort((error[rows], cost[rows]))]
    least = np.minimum.accumulate(np.concatenate([[np.inf], error[rows]]))[:-1]
    return rows[error[rows] < least][::-1]


def spread(values: FloatArray, count: int) -> IntArray:
    """Places of about so many values that are spread evenly over the logarithm of positive numbers, both ends among
    them, ascending and each once."""
    logs = np.log(np.maximum(values, 1e-12))
    wanted = np.linspace(logs.min(), logs.max(), count)
    return np.unique(np.abs(logs[None] - wanted[:, None]).argmin(1)).astype(np.int64)
