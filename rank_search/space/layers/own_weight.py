"""Whether a layer is what it looks like: its weight a parameter of its own, and nothing beside it that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rank_search.space.layers.layer import Layer

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def why_not_plain(name: str, module: nn.Module) -> str | None:
    """Why a convolution or linear layer cannot be replaced by factors of its weight; None if nothing is in the way.

    Args:
        name: of the layer.
        module: of one of ``KINDS``.
    """
    return (
        _not_a_parameter(module, "weight")
        or (_not_a_parameter(module, "bias") if getattr(module, "bias", None) is not None else None)
        or _strange(module.weight)
        or _other_shape(name, module)
        or _carries(module)
    )


def parametrised(module: nn.Module) -> str | None:
    """The reason for a layer whose weight ``torch.nn.utils.parametrize`` computes; None for others."""
    if not parametrize.is_parametrized(module):
        return None
    names = ", ".join(module.parametrizations)  # type: ignore[arg-type]
    return (
        f"its {names} is parametrised: make it permanent with torch.nn.utils.parametrize.remove_parametrizations first"
    )


def _not_a_parameter(module: nn.Module, name: str) -> str | None:
    if module._parameters.get(name) is not None:
        return None
    if name in module._buffers:
        return f"its {name} is a buffer, no parameter"
    makers = {type(hook).__name__ for hook in module._forward_pre_hooks.values() if getattr(hook, "name", None) == name}
    makers |= {type(hook).__name__ for hook in module._forward_pre_hooks.values() if hasattr(hook, "_tensor_name")}
    by = f" ({', '.join(sorted(makers))})" if makers else ""
    return (
        f"its {name} is no parameter, it is computed before every call{by}: make it permanent first, e.g. with "
        "torch.nn.utils.remove_weight_norm, remove_spectral_norm or prune.remove"
    )


def _strange(weight: Any) -> str | None:
    assert isinstance(weight, Tensor)
    if type(weight) not in (nn.Parameter, Tensor):
        return f"its weight is a {type(weight).__name__}, no plain tensor"
    if weight.is_complex():
        return f"its weight is complex ({_short(weight.dtype)}): only real weights are decomposed"
    if weight.dtype not in DTYPES or weight.is_quantized:
        return f"its weight is {_short(weight.dtype)}: only {', '.join(map(_short, DTYPES))} are decomposed"
    if weight.layout != torch.strided:
        return f"its weight is stored as {_short(weight.layout)}, no dense tensor"
    return "its weight is on the meta device: it has no values" if weight.is_meta else None


def _other_shape(name: str, module: nn.Module) -> str | None:
    weight = module.weight
    assert isinstance(weight, Tensor)
    expected = Layer.of(name, module).shape
    if tuple(weight.shape) == expected:
        return None
    return f"its weight has the shape {list(weight.shape)}, its attributes say {list(expected)}"


def _carries(module: nn.Module) -> str | None:
    """What a replaced layer would lose."""
    if "forward" in vars(module):
        return "its forward was patched"
    more = [*(module._parameters.keys() - {"weight", "bias"}), *module._buffers, *module._modules]
    if more:
        return f"it carries {', '.join(map(repr, sorted(more)))} beside its weight and bias"
    hooks: dict[str, Mapping[Any, Any]] = {
        "forward hook": module._forward_hooks,
        "forward pre-hook": module._forward_pre_hooks,
        "backward hook": module._backward_hooks,
        "backward pre-hook": module._backward_pre_hooks,
    }
    return next((f"it carries a {kind}" for kind, found in hooks.items() if found), None)


def _short(value: Any) -> str:
    return str(value).removeprefix("torch.")
