"""Components are dropped so that the predicted changes of the loss cancel."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch

from rank_search.arrays import FloatArray, IntArray
from rank_search.searching import About, RuleSearcher
from rank_search.searching.option_values import whole
from rank_search.searching.within_budget import bounded_costs, form_names, is_within, position_of
from rank_search.space import RankPlan
from rank_search.task import Oracles

from .loss_gradients import sample_gradients
from .single_layer import frontier


class ZeroSum(RuleSearcher):
    """First-order changes of the loss, dropped from two heaps so that their running sum stays near zero.

    Zero Sum SVD (arXiv 2602.02848): dropping the component ``sigma_j u_j v_j^T`` changes the loss by
    ``-sigma_j dL/dsigma_j``; of all components that may go next, one whose change has the sign opposite to the running
    sum goes, the smallest change first. Here a step of a layer is to the next cheaper option of its form of less cost
    and more error, and its change ``<G, What' - What>`` with the gradient G: for an SVD the same numbers. The sum
    counts what went so far; components go from a layer's small end up (both reconstructed). In a space of several forms
    the rule is applied once per form (a layer without that form takes its first), and the best on validation is kept
    (ours).

    Args:
        samples: labelled training samples whose mean gradient is taken.
    """

    about: ClassVar[About] = About("data-aware", "labels", "Zero Sum SVD (arXiv 2602.02848)", "reconstruction")

    def __init__(self, task: Oracles, *, seed: int, samples: int = 64) -> None:
        super().__init__(task, seed=seed)
        self._samples = whole("samples", samples, 1)

    def plans(self) -> Sequence[RankPlan]:
        errors = self.task.relative_errors()
        changes = self.changes(errors)
        return [self._of_form(form, errors, changes) for form in form_names(self.task)]

    def changes(self, errors: Sequence[FloatArray]) -> list[FloatArray]:
        """``<G, What - W>`` of every option, an array ``[n]`` per layer; inf where there is no fit."""
        gradients = sample_gradients(self.task, self._samples, self.seed)
        found = []
        for layer, (error, gradient) in enumerate(zip(errors, gradients, strict=True)):
            mean, dense = gradient.double().mean(0), self.task.approximation(layer, 0)
            values = np.where(np.isfinite(error), 0.0, np.inf)
            for option in np.flatnonzero(np.isfinite(error))[1:].tolist():
                change = (self.task.approximation(layer, option) - dense).reshape(-1)
                values[option] = float(torch.dot(mean, change))
            found.append(values)
        return found

    def _of_form(self, form: str, errors: Sequence[FloatArray], changes: Sequence[FloatArray]) -> RankPlan:
        space = self.task.space
        paths = [
            path(options.form == position_of(options, form), cost, error)
            for options, cost, error in zip(space.layers, bounded_costs(self.task), errors, strict=True)
        ]
        steps = [np.diff(change[rows]) for change, rows in zip(changes, paths, strict=True)]
        at = two_heaps(steps, lambda at: is_within(self.task, self._plan(paths, at)))
        return space.project(self._plan(paths, at), self.task.budget)

    def _plan(self, paths: Sequence[IntArray], at: Sequence[int]) -> RankPlan:
        return self.task.space.plan(np.array([rows[i] for rows, i in zip(paths, at, strict=True)]))


def path(of_form: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], cost: FloatArray, error: FloatArray) -> IntArray:
    """Rows from dense downwards: falling cost and rising error, of one form.

    Args:
        of_form: which rows are of the form.
        cost, error: of every row; row 0 is dense.
    """
    cheaper = frontier(cost, error, np.flatnonzero(of_form & (cost < cost[0])))
    return np.concatenate([[0], cheaper]).astype(np.int64)


def two_heaps(steps: Sequence[FloatArray], enough: Callable[[list[int]], bool]) -> list[int]:
    """How many steps each layer takes.

    Args:
        steps: per layer the change of the loss of its steps, which are taken in order.
        enough: whether so many steps per layer suffice.

    Returns:
        Per layer a number of steps; all of them where that is still not enough.
    """
    at = [0] * len(steps)
    heaps: dict[bool, list[tuple[float, int]]] = {True: [], False: []}  # by whether the change is negative

    def offer(layer: int) -> None:
        if at[layer] < len(steps[layer]):
            change = float(steps[layer][at[layer]])
            heapq.heappush(heaps[change < 0], (abs(change), layer))

    for layer in range(len(steps)):
        offer(layer)
    total = 0.0
    while not enough(at) and (heaps[True] or heaps[False]):
        wanted = total > 0
        heap = heaps[wanted] or heaps[not wanted]
        _, layer = heapq.heappop(heap)
        total += float(steps[layer][at[layer]])
        at[layer] += 1
        offer(layer)
    return at
