"""Searchers and models that misbehave, for tests: named in configs as ``broken_plugins:Class``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rank_search import Proposal, Searcher


class OneStep(Searcher):
    """Proposes once."""

    used = False

    def step(self) -> Proposal:
        self.used = True
        return self.propose()

    def propose(self) -> Proposal:
        return Proposal(self.task.space.project(self.task.space.dense, self.task.budget), 1.0)

    @property
    def done(self) -> bool:
        return self.used

    def state_dict(self) -> dict[str, Any]:
        return {"used": self.used}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.used = bool(state["used"])


class Raises(OneStep):
    def propose(self) -> Proposal:
        raise KeyError("lost my way")


class SaysNan(OneStep):
    def propose(self) -> Proposal:
        return Proposal(super().propose().plan, math.nan)


class OverBudget(OneStep):
    def propose(self) -> Proposal:
        return Proposal(self.task.space.dense, 0.0)


def only_norms() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LayerNorm(64))


def not_a_number() -> nn.Module:
    from rank_search import load_model

    model = load_model("digits_net", width=6)
    with torch.no_grad():
        model.conv3.weight[0, 0] = math.nan  # type: ignore[union-attr, index]
    return model
