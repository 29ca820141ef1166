"""An engine with an exact clock: times follow from shapes alone, in steps of its width, so that all can be counted."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rank_search.deploy.engines import Engine, Runner
from rank_search.nests import Nest, call
from rank_search.space.layers.layer import KINDS

WIDTH = 4
NORM = 700  # nanoseconds of every other module with parameters


def nanoseconds(module: nn.Module, output: Tensor) -> int:
    """Of one call of a layer: channels in whole blocks, times taps, times output positions, and 50 for the call."""
    if isinstance(module, nn.Linear):
        blocks = ceil(module.in_features / WIDTH) * ceil(module.out_features / WIDTH)
        return 50 + blocks * WIDTH * WIDTH * (output.numel() // module.out_features)
    assert isinstance(module, nn.modules.conv._ConvNd)
    into, out = module.in_channels // module.groups, module.out_channels // module.groups
    blocks = module.groups * ceil(into / WIDTH) * ceil(out / WIDTH)
    positions = output.numel() // module.out_channels
    return 50 + blocks * WIDTH * WIDTH * prod(module.kernel_size) * positions


class ExactClock(Engine):
    """Runs in PyTorch, tells the time by :func:`nanoseconds`, and 700 ns for every norm.

    Args:
        threads, dtype: as in :class:`Engine`.
        whole: what whole networks take of what their modules take; a number, or a function of it.
    """

    name: ClassVar[str] = "exact_clock"
    width: ClassVar[int] = WIDTH

    def __init__(self, threads: int = 1, dtype: str = "float32", whole: float | Callable[[int], float] = 1.0) -> None:
        super().__init__(threads, dtype)
        self.whole = whole
        self.prepared = 0

    def prepare(self, model: nn.Module, inputs: Nest) -> Runner:
        total = count(model, inputs)
        return _Clock(self.whole(total) if callable(self.whole) else self.whole * total, model, inputs)

    def prepare_chain(self, modules: nn.Sequential, inputs: Tensor) -> Runner:
        self.prepared += 1
        return _Clock(float(count(modules, inputs)), modules, inputs)

    def versions(self) -> dict[str, str]:
        return {"exact_clock": "1"}

    def device(self) -> str:
        return "a clock"


class _Clock(Runner):
    def __init__(self, time: float, model: nn.Module, inputs: Nest) -> None:
        self._time, self._model, self._inputs = time, model, inputs

    def run(self) -> Nest:
        with torch.inference_mode():
            return call(self._model, self._inputs)

    def call(self) -> None:
        pass

    def seconds(self, calls: int) -> float:
        return calls * self._time / 1e9


def count(model: nn.Module, inputs: Nest) -> int:
    """Nanoseconds of all calls of a network's layers and norms."""
    total = 0

    def hear(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal total
        total += nanoseconds(module, output) if type(module) in KINDS else NORM

    heard = [m for m in model.modules() if type(m) in KINDS or isinstance(m, nn.BatchNorm2d)]
    handles = [module.register_forward_hook(hear) for module in heard]
    with torch.inference_mode():
        call(model, inputs)
    for handle in handles:
        handle.remove()
    return total
