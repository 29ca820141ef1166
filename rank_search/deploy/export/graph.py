"""A network's calls in their order, with factorised layers as single calls."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from rank_search.nests import Nest
from rank_search.running import evaluating
from rank_search.space.forms.low_rank import LowRank


def calls_in(network: nn.Module, inputs: Nest) -> list[fx.Node]:
    """The network's graph, with the shape of every value.

    Args:
        network: in eval mode.
        inputs: that it runs on, a nest.

    Raises:
        Exception: whatever the network's code makes of symbols: data-dependent control flow, for one.
    """
    with evaluating(network):
        return list(_traced(network, inputs).nodes)


def calls_of(name: str, nodes: list[fx.Node], modules: Mapping[str, nn.Module]) -> list[fx.Node]:
    """All calls of a module, under whatever name."""
    module = modules[name]
    return [node for node in nodes if node.op == "call_module" and modules.get(str(node.target)) is module]


def put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module in the place of the one of that name."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


class _Tracer(fx.Tracer):
    """Factorised layers are single calls, as the layers were that they replace."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LowRank) or super().is_leaf_module(m, module_qualified_name)


def _traced(network: nn.Module, inputs: Nest) -> fx.Graph:
    """The network's graph, with the shape of every value."""
    graph = fx.GraphModule(network, _Tracer().trace(network))
    if isinstance(inputs, Mapping):
        names = [str(node.target) for node in graph.graph.nodes if node.op == "placeholder"]
        given = tuple(inputs[name] for name in names if name in inputs)
    else:
        given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    ShapeProp(graph).propagate(*given)
    return graph.graph
