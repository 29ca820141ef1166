"""Whole networks of plans, for their times alone: random weights, nothing is decomposed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from rank_search.deploy.latency.metric import Latency
from rank_search.errors import InvalidInputError
from rank_search.space import Choice, LowRank, RankPlan, RankSpace
from rank_search.space.compress import replace_layers, uninitialised


def untrained(model: nn.Module, plan: RankPlan) -> nn.Module:
    """The network of a plan with random factors: it takes the time of the real one, and is made at once."""
    generator = torch.Generator().manual_seed(0)

    def build(name: str, choice: Choice, module: nn.Module) -> LowRank:
        low_rank = uninitialised(name, choice, module)
        for parameter in low_rank.parameters():
            fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 1
            drawn = torch.randn(parameter.shape, generator=generator) * fan**-0.5
            parameter.data = drawn.to(parameter)
        return low_rank

    return replace_layers(model, plan, build).eval()


def latency_of(space: RankSpace) -> Latency | None:
    """The space's time, if it has one."""
    return next((metric for metric in space.metrics if isinstance(metric, Latency)), None)


def required_latency(space: RankSpace) -> Latency:
    """The space's time.

    Raises:
        InvalidInputError: if it counts none.
    """
    metric = latency_of(space)
    if metric is None:
        raise InvalidInputError(
            f"the space counts {', '.join(space.metric_names)} and no time: build it with "
            "metrics=[rank_search.Latency(...)]"
        )
    return metric


def whole_times(space: RankSpace, model: nn.Module, plans: Sequence[RankPlan]) -> tuple[int, list[int]]:
    """Nanoseconds of a run of the dense network and of every plan's, timed in turn.

    Args:
        space: with a :class:`Latency` among its metrics.
        model: the dense network.
        plans: of that space.
    """
    metric = required_latency(space)
    dense, *others = metric.measure_in_turn([model, *(untrained(model, plan) for plan in plans)], space.sample)
    return dense, others
