"""Finding the layers of a model: which exist, how one sample runs through them, and which cannot be decomposed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.nests import Nest
from rank_search.running import observed
from rank_search.space.layers.counting import counting, run_sample
from rank_search.space.layers.layer import KINDS, Call, Layer
from rank_search.space.layers.own_weight import parametrised, why_not_plain

DEPTHWISE = "depthwise: nothing to gain in the channel modes"
PAST_ITS_CALL = "the network uses its weight without calling it"
CANDIDATES = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)
"""Kinds of modules that are listed at all, decomposable or not."""


@dataclass(frozen=True)
class Trace:
    """Args:
    layers: every layer that a form could apply to, in the model's order.
    skipped: every other candidate with the reason.
    outputs: what the network put out.
    not_counted: operators that compute and of which no count is known.
    """

    layers: dict[str, Layer]
    skipped: dict[str, str]
    outputs: Any = field(default=None, compare=False)
    not_counted: tuple[str, ...] = ()


def trace(model: nn.Module, example: Nest) -> Trace:
    """Runs one sample through the model and records every call of every convolution and linear layer.

    Args:
        model: any module; left as it was.
        example: a nest of inputs ``[N, ...]``; only the first sample is used.

    Raises:
        InvalidInputError: if the model cannot run the example.
    """
    calls: dict[str, list[Call]] = {}
    candidates: dict[str, nn.Module] = {
        name: module for name, module in model.named_modules() if isinstance(module, CANDIDATES)
    }
    refused = unreplaceable(model)
    with observed(candidates, after=recorder(calls, candidates)), counting() as counter:
        outputs = run_sample(model, example)
    layers: dict[str, Layer] = {}
    skipped: dict[str, str] = {}
    for name, module in candidates.items():
        reason = _why_not(name, module, refused, calls, counter.parameters)
        if reason is None:
            layers[name] = Layer.of(name, module, tuple(calls[name]))
        else:
            skipped[name] = reason
    return Trace(layers, skipped, outputs, counter.count.not_counted)


def recorder(calls: dict[str, list[Call]], modules: dict[str, nn.Module]) -> Callable[[str, Any, Any], None]:
    """What to hear calls with: it enters the extents of every call under the module's name."""

    def record(name: str, given: Any, output: Any) -> None:
        if isinstance(output, Tensor) and isinstance(given, Tensor):
            module = modules[name]
            calls.setdefault(name, []).append((_positions(module, given), _positions(module, output)))

    return record


def _positions(module: nn.Module, tensor: Tensor) -> tuple[int, ...]:
    """All extents but the channels: what the model folds into the batch is work for the one sample, too."""
    shape = tuple(tensor.shape)
    spatial = len(getattr(module, "kernel_size", ()))
    return (*shape[: len(shape) - spatial - 1], *shape[len(shape) - spatial :])


def unreplaceable(model: nn.Module) -> dict[str, str]:
    """The layers that cannot be replaced by factors of their weight, with the reason."""
    fused = _fused(model)
    reasons = {}
    for name, module in model.named_modules():
        if (reason := why_not_plain(name, module) if type(module) in KINDS else parametrised(module)) is not None:
            reasons[name] = reason
    reasons |= {name: f"its weight or bias is shared with {other!r}" for name, other in _shared(model).items()}
    return reasons | {
        name: "nn.TransformerEncoderLayer reads its weight directly"
        for name, module in model.named_modules()
        if module in fused
    }


def _shared(model: nn.Module) -> dict[str, str]:
    """Modules one of whose parameters another module holds, too (an embedding, say), with that module's name.

    Two parameters are one, too, if their values overlap in memory.
    """
    holders: dict[int, list[str]] = {}
    spans: list[tuple[str, int, int, str]] = []  # where the values lie, and whose they are
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            found = holders.setdefault(id(parameter), [])
            if not found:
                spans += [(*span, name) for span in _memory(parameter)]
            if name not in found:
                found.append(name)
    tied = [names for names in holders.values() if len(names) > 1]
    end, last = ("", 0), ""
    for device, first, after, name in sorted(spans):
        if (device, first) < end and device == end[0] and name != last:
            tied.append([last, name])
        if (device, after) > end or device != end[0]:
            end, last = (device, after), name
    return {name: names[names[0] == name] for names in tied for name in names}


def _memory(parameter: Tensor) -> list[tuple[str, int, int]]:
    """Device, first byte and byte after the last; nothing for those without values, or that keep them elsewhere."""
    if type(parameter) is not nn.Parameter or parameter.is_meta or not parameter.numel():
        return []
    if parameter.layout != torch.strided or parameter.is_quantized:
        return []
    reach = sum((size - 1) * stride for size, stride in zip(parameter.shape, parameter.stride(), strict=True)) + 1
    first = parameter.data_ptr()
    return [(str(parameter.device), first, first + reach * parameter.element_size())]


def _fused(model: nn.Module) -> set[nn.Module]:
    """Layers that torch's fast path of ``nn.TransformerEncoderLayer`` never calls: it reads their weights."""
    encoders = [module for module in model.modules() if isinstance(module, nn.TransformerEncoderLayer)]
    return {layer for encoder in encoders for layer in (encoder.linear1, encoder.linear2)}


def _why_not(
    name: str, module: nn.Module, refused: dict[str, str], calls: dict[str, list[Call]], used: set[int]
) -> str | None:
    if isinstance(module, nn.MultiheadAttention):
        return "packed attention projections (in_proj_weight) are not decomposed"
    if name in refused:
        return refused[name]
    if type(module) not in KINDS:
        return f"{type(module).__name__} layers are not supported"
    if name not in calls:
        return PAST_ITS_CALL if id(module.weight) in used else "the example input does not run it"
    return DEPTHWISE if Layer.of(name, module).depthwise else None
