"""Counting a finished network once more: what a plan claims is what the network costs."""

from __future__ import annotations

from torch import nn

from rank_search.errors import EvaluationError
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.layers.counting import macs_by_module
from rank_search.space.layers.layer import KINDS
from rank_search.space.metrics.metric import checked_number
from rank_search.space.plan import DENSE, RankPlan
from rank_search.space.space import RankSpace


def verify_cost(space: RankSpace, network: nn.Module, plan: RankPlan) -> None:
    """Measures a finished network by every exact metric of the space and compares it with the plan's cost.

    Args:
        space: of the dense network.
        network: what the plan made of it; left as it was.
        plan: of this space.

    Raises:
        EvaluationError: if a count differs; names the metric and the layer.
    """
    if space.sample is None:
        return
    cost = space.cost(plan)
    for metric in space.metrics:
        if not metric.exact:
            continue
        found = checked_number(metric, metric.measure(network, space.sample))
        if found != cost[metric.name]:
            raise EvaluationError(
                f"the finished network costs {found} {metric.unit} ({metric.name}), its plan says {cost[metric.name]}: "
                + _where(space, network, plan)
            )


def _where(space: RankSpace, network: nn.Module, plan: RankPlan) -> str:
    """The first layer that is not what the plan says, in words."""
    modules = dict(network.named_modules())
    macs = macs_by_module(network, space.sample, [o.layer.name for o in space.layers if o.layer.name in modules])
    for options, row in zip(space.layers, space.indices(plan), strict=True):
        name, choice = options.layer.name, options.choice(int(row))
        module = modules.get(name)
        if module is None:
            return f"the layer {name!r} is gone"
        as_planned = (
            type(module) in KINDS if choice == DENSE else isinstance(module, LowRank) and module.choice == choice
        )
        if not as_planned:
            stands = module.choice if isinstance(module, LowRank) else type(module).__name__
            return f"the layer {name!r} should be {choice}, there stands {stands}"
        claimed = dict(zip(space.metric_names, options.costs[int(row)].tolist(), strict=True))
        bias = getattr(module, "bias", None)
        held = sum(parameter.numel() for parameter in module.parameters()) - (0 if bias is None else bias.numel())
        for what, counted in (("params", held), ("macs", macs[name])):
            if claimed[what] != counted:
                return f"the layer {name!r} ({choice}) has {counted} {what}, not {claimed[what]}"
    return "the layers of the plan are as it says, something beside them changed"
