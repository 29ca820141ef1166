"""What is to be mended in a network, in the order it runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.nests import Nest, call, mapped, moved
from rank_search.running import device_of, evaluating, observed
from rank_search.space.layers.layer import KINDS
from rank_search.task.repair.recalibration import BatchNorm


@dataclass
class Step:
    """A layer, or a batch norm.

    Args:
        name: in the network.
        calls: of it, for one batch.
        numbers: of the largest of its inputs with its outputs, for one sample.
        norm: of a layer, the batch norm that takes all its outputs, and nothing else, at once.
        norm_of: of such a batch norm, the layer.
        given: says which steps are given the same tensor: they do not depend on each other.
    """

    name: str
    calls: int = 0
    numbers: int = 0
    norm: str | None = None
    norm_of: str | None = None
    given: tuple[int, int] | None = None


@dataclass
class _Heard:
    order: dict[str, Step] = field(default_factory=dict)
    inputs: dict[str, list[Any]] = field(default_factory=dict)
    outputs: dict[str, list[Any]] = field(default_factory=dict)


def steps_of(dense: nn.Module, sample: Nest) -> list[Step]:
    """All convolutions, linear layers and batch norms with running statistics, in the order one sample meets them.

    Args:
        dense: left as it was.
        sample: a nest of inputs ``[1, ...]``.
    """
    modules = {
        name: module
        for name, module in dense.named_modules()
        if type(module) in KINDS or (isinstance(module, BatchNorm) and module.running_mean is not None)
    }
    heard = _Heard()

    def hear(name: str, given: Any, output: Any) -> None:
        step = heard.order.setdefault(name, Step(name))
        step.calls += 1
        if isinstance(given, Tensor) and isinstance(output, Tensor):
            step.numbers = max(step.numbers, given.numel() + output.numel())
        step.given = _identity(given) if step.given is None else step.given
        heard.inputs.setdefault(name, []).append(given)  # held, so that no other tensor gets its identity
        heard.outputs.setdefault(name, []).append(output)

    with torch.inference_mode(False), evaluating(dense), observed(modules, after=hear):
        call(dense, moved(mapped(sample, lambda tensor: tensor[:1].clone()), device_of(dense)))
    _pair(heard, {name for name, module in modules.items() if isinstance(module, BatchNorm)})
    return list(heard.order.values())


def _identity(given: Any) -> tuple[int, int]:
    """Of a tensor as it is now: it may be written to later on."""
    counted = isinstance(given, Tensor) and not given.is_inference()
    return id(given), given._version if counted else 0


def _pair(heard: _Heard, norms: Collection[str]) -> None:
    """Notes the layers whose outputs go into a batch norm that has no other inputs."""
    takers: dict[int, list[str]] = {}
    for norm in norms:
        for given in heard.inputs.get(norm, []):
            takers.setdefault(id(given), []).append(norm)
    for name, step in heard.order.items():
        outputs = [id(output) for output in heard.outputs[name]]
        found = {taker for output in outputs for taker in takers.get(output, [])}
        if name not in norms and len(found) == 1:
            (norm,) = found
            if sorted(id(given) for given in heard.inputs[norm]) == sorted(outputs):
                step.norm, heard.order[norm].norm_of = norm, name
