"""PyTorch as it is, and compiled by TorchInductor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn

from rank_search.copying import copy_network
from rank_search.deploy.engines.engine import DTYPES, Engine, Runner
from rank_search.errors import EngineError, told
from rank_search.nests import Nest, call, leaves, mapped, moved
from rank_search.threads import torch_threads


class Eager(Engine):
    """PyTorch's operators one after another, in inference mode.

    Args:
        threads, dtype: as in :class:`Engine`.
        device: ``cpu``, or ``cuda``, whose times are those of its own events.
        channels_last: whether images and kernels are laid out with their channels last, which suits CPUs.
    """

    name: ClassVar[str] = "eager"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64", "bfloat16", "float16")

    def __init__(
        self, threads: int = 1, dtype: str = "float32", device: str = "cpu", channels_last: bool = True
    ) -> None:
        super().__init__(threads, dtype)
        on_cuda = isinstance(device, str) and device.partition(":")[0] == "cuda" and torch.cuda.is_available()
        if device != "cpu" and not on_cuda:
            raise EngineError(f"the engine {self.name} cannot run on device {device!r} here: use cpu")
        self._device, self._channels_last = torch.device(device), channels_last

    def prepare(self, model: nn.Module, inputs: Nest) -> Runner:
        network = copy_network(model).eval().to(self._device, DTYPES[self.dtype])
        given = moved(mapped(inputs, self._laid_out), self._device)
        if self._channels_last:
            network = network.to(memory_format=torch.channels_last)
        try:
            runner = TorchRunner(self._function(network), given, self.threads)
            runner.run()
        except Exception as error:
            raise EngineError(f"the engine {self.name} cannot run {type(model).__name__}: {told(error)}") from error
        return runner

    def _function(self, network: nn.Module) -> Callable[..., Any]:
        return network

    def _laid_out(self, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.to(DTYPES[self.dtype]) if tensor.is_floating_point() else tensor
        return tensor.to(memory_format=torch.channels_last) if self._channels_last and tensor.ndim == 4 else tensor

    def options(self) -> dict[str, Any]:
        return {**super().options(), "device": str(self._device), "channels_last": self._channels_last}

    def device(self) -> str:
        return super().device() if self._device.type == "cpu" else torch.cuda.get_device_name(self._device)


NETWORKS = 256


class Compiled(Eager):
    """PyTorch compiled by TorchInductor; it needs a C++ compiler on a CPU, and compiles every network anew.

    Args:
        threads, dtype, device, channels_last: as in :class:`Eager`.
        mode: of ``torch.compile``.
    """

    name: ClassVar[str] = "compile"
    times_layers: ClassVar[bool] = False

    def __init__(
        self,
        threads: int = 1,
        dtype: str = "float32",
        device: str = "cpu",
        channels_last: bool = True,
        mode: str = "default",
    ) -> None:
        super().__init__(threads, dtype, device, channels_last)
        self._mode = mode

    def _function(self, network: nn.Module) -> Callable[..., Any]:
        limits = torch._dynamo.config  # of networks compiled for one class, beyond which the others run uncompiled
        limits.recompile_limit = max(limits.recompile_limit, NETWORKS)
        compiled: Callable[..., Any] = torch.compile(network, mode=self._mode)
        return compiled

    def options(self) -> dict[str, Any]:
        return {**super().options(), "mode": self._mode}


class TorchRunner(Runner):
    """A function of torch's with its inputs.

    Args:
        function: called as networks are.
        inputs: a nest on the function's device.
        threads: that one run uses.
    """

    def __init__(self, function: Any, inputs: Nest, threads: int) -> None:
        self._function, self._inputs, self._threads = function, inputs, threads
        self._cuda = next((tensor.device for tensor in leaves(inputs) if tensor.is_cuda), None)

    def run(self) -> Nest:
        with torch.inference_mode(), torch_threads(self._threads):
            return mapped(call(self._function, self._inputs), _readable)

    def call(self) -> None:
        call(self._function, self._inputs)

    def seconds(self, calls: int) -> float:
        with torch.inference_mode(), torch_threads(self._threads):
            if self._cuda is None:
                return super().seconds(calls) if self._threads == 1 else self._wall(calls)
            with torch.cuda.device(self._cuda):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
                start.record()
                for _ in range(calls):
                    self.call()
                end.record()
                torch.cuda.synchronize()
                return float(start.elapsed_time(end)) / 1000

    def _wall(self, calls: int) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            self.call()
        return time.perf_counter() - started


def _readable(tensor: torch.Tensor) -> torch.Tensor:
    """On the CPU; what NumPy has no name for in single precision."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu()
