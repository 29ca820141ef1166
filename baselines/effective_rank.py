"""Ranks in proportion to the root of a layer's effective rank per cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from rank_search.arrays import FloatArray
from rank_search.searching import About, RuleSearcher
from rank_search.searching.within_budget import first_within, form_names, position_of, row_below
from rank_search.space import RankPlan
from rank_search.space.tables.options import LayerOptions

from .evbmf import unfoldings

LEAST, MOST, STEPS = 1e-4, 1e4, 4000


class EffectiveRank(RuleSearcher):
    """D-Rank: ``R_l = exp H(sigma^2 / sum sigma^2)``, ``k_l`` in proportion to ``sqrt(R_l / c_l)`` (arXiv 2509.25622).

    ``c_l`` is what one rank costs. The closed form ``k_l = sqrt(R_l / c_l) B / sum sqrt(R_l c_l)`` holds while no layer
    is cheaper dense; here the factor of proportion is bisected to the budget instead, which is the same then.

    Ours: forms with several ranks take the rule once per rank, with the energies of that rank's unfolding; a form whose
    ranks are of no unfolding takes what each rank adds; the rule is applied once per form (a layer without that form
    takes its first), and the best on validation is kept.
    """

    needs_data: ClassVar[bool] = False
    about: ClassVar[About] = About("data-free", "weights", "D-Rank (arXiv 2509.25622)", "reconstruction")

    def plans(self) -> Sequence[RankPlan]:
        errors = self.task.relative_errors()
        return [self._at_budget(form, errors) for form in form_names(self.task)]

    def _at_budget(self, form: str, errors: Sequence[FloatArray]) -> RankPlan:
        layers = [(options, position_of(options, form)) for options in self.task.space.layers]
        column = self.task.space.bounds(self.task.budget)[0][0]
        roots = [
            np.sqrt(effective_ranks(options, position, error) / costs_of_a_rank(options, position, column))
            for (options, position), error in zip(layers, errors, strict=True)
        ]
        unit = max(float(root.max()) for root in roots)

        def plan(factor: float) -> RankPlan:
            rows = [row_below(*layer, factor * root / unit) for layer, root in zip(layers, roots, strict=True)]
            return self.task.space.plan(np.array(rows))

        return first_within(self.task, np.geomspace(MOST, LEAST, STEPS).tolist(), plan)


def effective_ranks(options: LayerOptions, position: int, relative: FloatArray) -> FloatArray:
    """``exp H`` of the energies of each mode of a form, ``[modes]``: all singular values of the mode's unfolding.

    Args:
        options: of the layer.
        position: of the form.
        relative: ``||W - What||^2 / ||W||^2`` of every option, from which the energies are taken where the form's ranks
            are of no unfolding: ranks that are not offered share what they add, the others have what is left.
    """
    form = options.forms[position]
    matrices = unfoldings(options, position, options.weight.tensor)
    if matrices is not None:
        return np.array([_exp_entropy(torch.linalg.svdvals(matrix).square().sum(0).numpy()) for matrix in matrices])
    rows = np.flatnonzero((options.form == position) & np.isfinite(relative))
    ranks, found = options.ranks[rows], []
    for mode, full in enumerate(form.largest_ranks(options.layer)):
        offered = np.unique(ranks[:, mode])
        left = np.array([relative[rows[ranks[:, mode] == rank]].min() for rank in offered])
        if not len(offered) or offered[-1] < full:
            offered, left = np.append(offered, full), np.append(left, 0.0)
        left = np.minimum.accumulate(np.concatenate([[1.0], left]))
        widths = np.diff(np.concatenate([[0], offered]))
        found.append(_exp_entropy(np.repeat(-np.diff(left) / widths, widths)))
    return np.array(found)


def _exp_entropy(energies: FloatArray) -> float:
    total = float(energies.sum())
    shares = energies[energies > 0] / total if total > 0 else np.ones(1)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def costs_of_a_rank(options: LayerOptions, position: int, column: int) -> FloatArray:
    """What the last rank of each mode of a form costs while the other modes are as large as offered, ``[modes]``.

    Args:
        options: of the layer.
        position: of the form.
        column: of the metric.
    """
    form, top = options.forms[position], options.ranks_of(position).max(0)
    found = []
    for mode in range(len(form.modes)):
        less = top.copy()
        less[mode] = max(1, top[mode] - 1)
        both = options.costs_of(form, np.stack([top, less]))[:, column]
        last = both[0] - both[1] if top[mode] > 1 else both[0]
        found.append(max(float(last), 1.0))
    return np.array(found)
