"""Two pointwise factors that meet, as one: the same function in fewer operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from rank_search.deploy.export.graph import calls_in, calls_of, put
from rank_search.nests import Nest
from rank_search.space.forms.low_rank import LowRank

POINTWISE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LAYERS = (LowRank, nn.Linear, *POINTWISE)
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""Modules that do nothing in eval mode: a batch norm that was folded leaves an identity."""


def merge_factors(network: nn.Module, inputs: Nest) -> dict[str, str]:
    """Merges, in place, the last factor of a layer and the first of the next where both are linear in every position.

    ``V (U x + b) + c = (V U) x + (V b + c)``, where nothing but the next layer uses what is between, and only if the
    merged factor has fewer weights than the two: ranks ``r`` and ``s`` that meet over ``C`` channels merge where
    ``r s < C (r + s)``. Linear bottlenecks (MobileNetV2's) have such places; a nonlinearity between leaves none.

    Args:
        network: in eval mode, batch norms folded; changed.
        inputs: that it runs on, a nest.

    Returns:
        The factors that are gone, each with the one that it is part of. A network that cannot be traced keeps all.
    """
    try:
        nodes = calls_in(network, inputs)
    except Exception:  # the folding said so already
        return {}
    merged: dict[str, str] = {}
    for node in nodes:
        modules = dict(network.named_modules())
        before = _only_source(node, nodes, modules)
        if before is None:
            continue
        first, second = _factor(before, modules, last=True), _factor(node, modules, last=False)
        made = _merged(modules[first], modules[second])
        if made is not None:
            put(network, second, made)
            put(network, first, nn.Identity())
            merged[first] = second
    return merged


def _only_source(node: fx.Node, nodes: list[fx.Node], modules: Mapping[str, nn.Module]) -> fx.Node | None:
    """The layer whose outputs go to this layer alone, both called once; None if there is none."""
    if not _is_layer(node, modules) or len(calls_of(str(node.target), nodes, modules)) != 1:
        return None
    given: Any = node.args[0] if node.args else node.kwargs.get("input")
    while isinstance(given, fx.Node) and len(given.users) == 1:
        if _is_layer(given, modules):
            return given if len(calls_of(str(given.target), nodes, modules)) == 1 else None
        if given.op != "call_module" or type(modules[str(given.target)]) not in NOTHING:
            return None
        given = given.args[0] if given.args else given.kwargs.get("input")
    return None


def _is_layer(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], LAYERS)


def _factor(node: fx.Node, modules: Mapping[str, nn.Module], last: bool) -> str:
    """The name of a layer's last or first factor; of a dense layer its own."""
    name, module = str(node.target), modules[str(node.target)]
    if not isinstance(module, LowRank):
        return name
    places = [place for place in range(len(module)) if not isinstance(module[place], nn.Identity)]
    return f"{name}.{places[-1 if last else 0]}"


def _merged(before: Any, after: Any) -> nn.Module | None:
    """The factor that does what both do; None if one does more than a matrix a position, or nothing is saved."""
    if type(before) is not type(after) or not (_is_matrix(before, anywhere=True) and _is_matrix(after)):
        return None
    inner, outer = before.weight.detach().flatten(1).double(), after.weight.detach().flatten(1).double()
    if inner.shape[0] != outer.shape[1] or len(outer) * inner.shape[1] >= inner.numel() + outer.numel():
        return None
    bias = outer.new_zeros(len(outer)) if after.bias is None else after.bias.detach().double()
    biased = before.bias is not None or after.bias is not None
    if before.bias is not None:
        bias = bias + outer @ before.bias.detach().double()
    made: nn.Module
    if isinstance(before, nn.Linear):
        made = nn.Linear(before.in_features, after.out_features, bias=biased, device=before.weight.device)
    else:
        made = type(before)(
            before.in_channels, after.out_channels, 1, stride=after.stride, bias=biased, device=before.weight.device
        )
    made.to(before.weight.dtype)
    _fill(made, outer @ inner, bias if biased else None)
    return made.eval()


def _is_matrix(factor: Any, anywhere: bool = False) -> bool:
    """Whether a factor maps the channels of every position by itself.

    Args:
        factor: a layer.
        anywhere: whether it has to take every position, too.
    """
    if type(factor) is nn.Linear:
        return True
    if type(factor) not in POINTWISE or isinstance(factor.padding, str):
        return False
    strided = anywhere and any(step != 1 for step in factor.stride)
    plain = all(size == 1 for size in factor.kernel_size) and not any(factor.padding)
    return plain and factor.groups == 1 and not strided


def _fill(layer: Any, matrix: Tensor, bias: Tensor | None) -> None:
    with torch.no_grad():
        layer.weight.copy_(matrix.reshape(layer.weight.shape))
        if bias is not None:
            layer.bias.copy_(bias)
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
