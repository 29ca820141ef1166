"""Batch norm folded into the layer before it: the same function in fewer operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import fusion

from rank_search.copying import copy_network
from rank_search.deploy.export.graph import calls_in, calls_of, put
from rank_search.errors import told
from rank_search.nests import Nest
from rank_search.space.forms.low_rank import LowRank

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Folding:
    """Args:
    folded: batch norms that are gone, and the layer that each went into.
    left: batch norms that stay, and why.
    merged: factors that are gone, and the one that each is part of now.
    """

    folded: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)


def fold_batch_norm(network: nn.Module, inputs: Nest) -> tuple[nn.Module, Folding]:
    """A copy of the network in eval mode without the batch norms that directly follow a layer.

    Of a factorised layer it is the last factor that takes the batch norm. The copy has the network's own modules, with
    ``nn.Identity`` for a batch norm.

    Args:
        network: left as it was.
        inputs: that it runs on, a nest; shapes are read from it.
    """
    folded = copy_network(network).eval()
    norms = {name: module for name, module in folded.named_modules() if isinstance(module, NORMS)}
    if not norms:
        return folded, Folding()
    try:
        nodes = calls_in(folded, inputs)
    except Exception as error:  # data-dependent control flow, anything that symbols cannot be
        return folded, Folding(left=dict.fromkeys(norms, f"the network cannot be traced: {told(error)}"))
    modules = dict(folded.named_modules())
    found = Folding()
    for name, norm in norms.items():
        before = _before(name, nodes, modules)
        if isinstance(before, str):
            found.left[name] = before
            continue
        layer = str(before.target)
        if isinstance(modules[layer], LowRank):
            layer = f"{layer}.{len(modules[layer]) - 1}"  # the last factor
        reason = _why_not(modules[layer], norm, before)
        if reason is not None:
            found.left[name] = reason
            continue
        put(folded, layer, _fused(modules[layer], norm))
        put(folded, name, nn.Identity())
        modules = dict(folded.named_modules())
        found.folded[name] = layer
    return folded, found


def _before(norm: str, nodes: list[fx.Node], modules: Mapping[str, nn.Module]) -> fx.Node | str:
    """The call of the layer that alone feeds a batch norm; in words why there is none."""
    calls = calls_of(norm, nodes, modules)
    if len(calls) != 1:
        return f"it is called {len(calls)} times"
    before: Any = calls[0].args[0] if calls[0].args else calls[0].kwargs.get("input")
    if not isinstance(before, fx.Node) or before.op != "call_module":
        return "no layer is directly before it"
    if len(before.users) != 1:
        return f"{before.target!r} before it is used elsewhere, too"
    if len(calls_of(str(before.target), nodes, modules)) != 1:
        return f"{before.target!r} before it is called several times"
    return before


def _why_not(layer: nn.Module, norm: nn.Module, call: fx.Node) -> str | None:
    """Why a batch norm cannot go into the layer; None if it can."""
    if not getattr(norm, "track_running_stats", True) or norm.running_mean is None:
        return "it has no running statistics"
    kind, name = type(layer), str(call.target)
    if kind in CONVOLUTIONS:
        return None
    if kind in TRANSPOSED:
        return None if layer.groups == 1 else f"{name!r} before it is transposed, with groups"
    if kind is nn.Linear:
        flat = len(call.meta["tensor_meta"].shape) == 2
        return None if flat else f"it is over another axis than the features of {name!r}"
    return f"{name!r} before it is a {kind.__name__}"


def _fused(layer: Any, norm: Any) -> nn.Module:
    with torch.no_grad():
        if isinstance(layer, nn.Linear):
            fused: nn.Module = fusion.fuse_linear_bn_eval(layer, norm)
        else:
            fused = fusion.fuse_conv_bn_eval(layer, norm, transpose=type(layer) in TRANSPOSED)
    return fused
