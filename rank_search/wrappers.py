"""Modules that only wrap a network (parallel training, ``torch.compile``) and put their own names before its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from torch import nn

from rank_search.copying import copy_network

PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def own_names(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Names of modules or of state by what they are called without the wrappers.

    Args:
        model: the network, wrapped or holding wrapped modules.
        names: such as ``module.conv.weight`` of ``nn.DataParallel(network)``.

    Returns:
        ``{"module.conv.weight": "conv.weight"}``, in the order given.
    """
    wrappers = [f"{path}.{inside}" if path else inside for path, inside in _wrappers(model)]
    found = {}
    for name in names:
        parts, own, path = name.split("."), [], ""
        for part in parts:
            path = f"{path}.{part}" if path else part
            if path not in wrappers:
                own.append(part)
        found[name] = ".".join(own)
    return found


def without_wrappers(model: nn.Module) -> nn.Module:
    """A copy of the network itself, no wrapper around it or inside of it.

    Raises:
        InvalidInputError: if it cannot be copied.
    """
    while (inside := _inside(model)) is not None:
        model = getattr(model, inside)
    wrapped = {id(module): _innermost(module) for module in model.modules() if _inside(module) is not None}
    if not wrapped:
        return copy_network(model)
    copies = {id(inner): copy_network(inner) for inner in wrapped.values()}
    return copy_network(model, {outer: copies[id(inner)] for outer, inner in wrapped.items()})


def _wrappers(model: nn.Module) -> list[tuple[str, str]]:
    """The path of every wrapper and the name under which it holds what it wraps."""
    return [(path, inside) for path, module in model.named_modules() if (inside := _inside(module)) is not None]


def _innermost(module: nn.Module) -> nn.Module:
    while (inside := _inside(module)) is not None:
        module = getattr(module, inside)
    return module


def _inside(module: nn.Module) -> str | None:
    """The name under which a wrapper holds what it wraps; None for any other module."""
    if isinstance(module, PARALLEL):
        return "module"
    compiler = sys.modules.get("torch._dynamo.eval_frame")  # not imported: that takes seconds, and it made no wrapper
    return "_orig_mod" if compiler is not None and isinstance(module, compiler.OptimizedModule) else None
