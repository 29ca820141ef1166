"""BC-ADL: the split variables Z = W and their duals, under the budget after every step.

    M = W + U;   Z = the part of M that its gates let through, at ranks within the budget;   U <- U + W - Z

(Budget-constrained alternating direction Lagrangian; BATUDE, AAAI 2022. The text of the algorithm is not public: this
is a reconstruction, docs/methods.md.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rank_search.arrays import FloatArray
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.space.forms.mode_spectra import Gates, ModeSpectra
from rank_search.space.forms.spectra import tails

from .gated_layer import GatedLayer
from .greedy_ranks import DENSE_RANKS, Ranks, greedy_ranks

Weights = Mapping[str, Tensor]
"""Canonical weights ``[groups, Co / groups, Ci / groups, taps]`` by layer name, float64 on the CPU."""


class SplitVariables:
    """Z, U and the gates of every gated layer.

    A layer that the budget step leaves dense has no constraint: its Z is W and its U zero.

    Args:
        space, budget: where ranks are chosen.
        layers: those of the space that are gated.
        soft: whether gates are soft.
        gradient_weight: how much the gradient score counts in the budget step; 0 to 1.

    Raises:
        InfeasibleBudgetError: if no ranks of these layers meet the budget.

    Attributes:
        ranks: of every layer, ``()`` for dense, after the last split.
        gates: per layer and mode ``[groups, k]``; all ones for a dense layer.
        bases: per layer and mode the singular vectors ``[groups, m, k]`` of the last split.
        thresholds: per layer and mode the first dropped singular value, 0 where none is dropped.
        primal, dual: ``||W - Z|| / ||W||`` and ``||Z - Z before|| / ||W||`` over all gated layers.
    """

    def __init__(
        self, space: RankSpace, budget: Budget, layers: Sequence[GatedLayer], soft: bool, gradient_weight: float
    ) -> None:
        self._space, self._budget, self._layers = space, budget, layers
        self._soft, self._weight = soft, gradient_weight
        columns, room = space.bounds(budget)
        gated = {layer.name for layer in layers}
        free = [options.costs[0, columns] for options in space.layers if options.layer.name not in gated]
        self._capacity: FloatArray = room - np.sum(free, axis=0)
        self.ranks: dict[str, Ranks] = {}
        self.gates: dict[str, Gates] = {}
        self.bases: dict[str, tuple[Tensor, ...]] = {}
        self.thresholds: dict[str, list[float]] = {}
        self.primal = self.dual = 0.0
        self._z: dict[str, Tensor] = {}
        self._u: dict[str, Tensor] = {}
        self._exact({layer.name: np.zeros(tuple(rank + 1 for rank in layer.full)) for layer in layers})

    def split(self, weights: Weights, scores: Mapping[str, Sequence[FloatArray]] | None, frozen: bool) -> RankPlan:
        """One Z-step, and the dual update (not at the first).

        Args:
            weights: W.
            scores: per layer and mode the gradient score of every component, ``[k]``; None before there is any.
            frozen: whether ranks stay as they are.

        Returns:
            The plan of the ranks; the other layers are dense.

        Raises:
            InfeasibleBudgetError: if no ranks of these layers meet the budget.
        """
        first = not self._z
        moved = {name: weight + self._u[name] if not first else weight for name, weight in weights.items()}
        spectra = {layer.name: layer.analyse(moved[layer.name]) for layer in self._layers}
        if not frozen or first:
            self.ranks = self._choose(spectra, scores)
        before, self._z = self._z, {}
        for layer in self._layers:
            self._gate(layer, spectra[layer.name], weights[layer.name], first)
        norm = _norm(list(weights.values())) or 1.0
        self.primal = _norm([weights[name] - self._z[name] for name in self._z]) / norm
        self.dual = 0.0 if first else _norm([self._z[name] - before[name] for name in self._z]) / norm
        return self.plan()

    def plan(self) -> RankPlan:
        """The plan of the ranks."""
        rows = np.zeros(len(self._space.layers), dtype=np.int64)
        position = {options.layer.name: i for i, options in enumerate(self._space.layers)}
        for layer in self._layers:
            rows[position[layer.name]] = layer.row(self.ranks[layer.name])
        return self._space.plan(rows)

    def targets(self) -> dict[str, Tensor]:
        """``Z - U`` of every layer that is not dense: where the proximal term pulls W."""
        return {name: self._z[name] - self._u[name] for name, ranks in self.ranks.items() if ranks != DENSE_RANKS}

    def state_dict(self) -> dict[str, Any]:
        return {
            "ranks": {name: list(ranks) for name, ranks in self.ranks.items()},
            "thresholds": self.thresholds,
            "residuals": [self.primal, self.dual],
            "z": self._z,
            "u": self._u,
            "gates": {name: list(gates) for name, gates in self.gates.items()},
            "bases": {name: list(bases) for name, bases in self.bases.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.ranks = {name: tuple(ranks) for name, ranks in state["ranks"].items()}
        self.thresholds, (self.primal, self.dual) = dict(state["thresholds"]), state["residuals"]
        self._z, self._u = dict(state["z"]), dict(state["u"])
        self.gates = {name: tuple(gates) for name, gates in state["gates"].items()}
        self.bases = {name: tuple(bases) for name, bases in state["bases"].items()}

    def _gate(self, layer: GatedLayer, spectra: ModeSpectra, weight: Tensor, first: bool) -> None:
        """Z, U, gates and thresholds of one layer at its ranks."""
        name, ranks = layer.name, self.ranks[layer.name]
        dense = ranks == DENSE_RANKS
        kept = layer.full if dense else ranks
        self.gates[name] = gates = spectra.gates(kept, self._soft)
        self.thresholds[name] = spectra.thresholds(kept)
        self.bases[name] = spectra.bases
        self._z[name] = weight.clone() if dense else spectra.rebuild(gates)
        known = torch.zeros_like(weight) if first or dense else self._u[name]
        self._u[name] = known if first else known + weight - self._z[name]

    def _choose(
        self, spectra: Mapping[str, ModeSpectra], scores: Mapping[str, Sequence[FloatArray]] | None
    ) -> dict[str, Ranks]:
        """The greedy budget step; where it meets nothing that fits several metrics, the exact solver."""
        lost = {name: one.lost() for name, one in spectra.items()}
        if scores is not None:
            self._mix(lost, scores)
        tables = [layer.table(lost[layer.name]) for layer in self._layers]
        found = greedy_ranks(tables, self._capacity)
        if found is not None:
            return {layer.name: ranks for layer, ranks in zip(self._layers, found, strict=True)}
        return self._exact(lost)

    def _exact(self, lost: Mapping[str, FloatArray]) -> dict[str, Ranks]:
        """Ranks of least loss within the budget.

        Raises:
            InfeasibleBudgetError: if no ranks of these layers meet it.
        """
        by_name = {layer.name: layer for layer in self._layers}
        values = []
        for options in self._space.layers:
            layer = by_name.get(options.layer.name)
            dense_only = np.where(np.arange(len(options)) == 0, 0.0, np.inf)
            values.append(dense_only if layer is None else layer.values(lost[layer.name]))
        rows = self._space.minimise(values, self._budget).indices
        return {
            options.layer.name: by_name[options.layer.name].ranks(int(row))
            for options, row in zip(self._space.layers, rows, strict=True)
            if options.layer.name in by_name
        }

    def _mix(self, lost: dict[str, FloatArray], scores: Mapping[str, Sequence[FloatArray]]) -> None:
        """``(1 - w) lost + w (gradient scores dropped)``, the scores scaled to the same total over all layers."""
        total = sum(float(np.sum(mode)) for modes in scores.values() for mode in modes)
        if not total > 0:
            return
        scale = self._weight * len(lost) / total
        for name, modes in scores.items():
            dropped = [scale * tails(mode) for mode in modes]
            added = dropped[0] if len(dropped) == 1 else dropped[0][:, None] + dropped[1][None, :]
            lost[name] = (1 - self._weight) * lost[name] + added


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(np.sqrt(sum(float(tensor.square().sum()) for tensor in tensors)))
