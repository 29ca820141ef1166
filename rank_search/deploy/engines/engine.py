"""What runs a network where it is deployed, and what must be known of it to compare times."""

from __future__ import annotations

import platform
import time
from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from rank_search.errors import InvalidInputError
from rank_search.nests import Nest

DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "float16", "bfloat16")}


class Runner(ABC):
    """A network that an engine made ready for fixed inputs.

    Attributes:
        threads: that a run uses; CPU time counts every one of them, so that with several the wall clock tells.
    """

    threads: int = 1

    @abstractmethod
    def run(self) -> Nest:
        """The outputs on the inputs that it was made ready for, on the CPU."""

    @abstractmethod
    def call(self) -> None:
        """Runs once, for its time alone."""

    def seconds(self, calls: int) -> float:
        """Seconds that so many runs take, one after another: CPU time of this process unless an engine knows better."""
        clock = time.process_time if self.threads == 1 else time.perf_counter
        started = clock()
        for _ in range(calls):
            self.call()
        return clock() - started


class Engine(ABC):
    """Prepares networks to run as they are deployed.

    Args:
        threads: that one run uses.
        dtype: of weights and inputs: ``float32``, ``float64``, ``float16`` or ``bfloat16``, as far as the engine has
            them.

    Attributes:
        name: as configs and tables name it.
        width: channels that the engine handles at once: ranks that are a multiple of it waste nothing.
        dtypes: that it runs in.
        blocks_channels: whether a network is run as a whole, with channels in blocks between its layers: a layer that
            is run alone then pays for entering and leaving, too.
        times_layers: whether a network is ready in milliseconds, so that hundreds of layers can be timed.
    """

    name: ClassVar[str]
    width: ClassVar[int] = 8
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    blocks_channels: ClassVar[bool] = False
    times_layers: ClassVar[bool] = True

    def __init__(self, threads: int = 1, dtype: str = "float32") -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InvalidInputError(f"threads={threads!r} is not allowed: give a whole number from 1")
        if dtype not in self.dtypes:
            raise InvalidInputError(f"the engine {self.name} does not run in {dtype!r}: use {' or '.join(self.dtypes)}")
        self.threads, self.dtype = threads, dtype

    @abstractmethod
    def prepare(self, model: nn.Module, inputs: Nest) -> Runner:
        """Makes a network ready for inputs of this shape.

        Args:
            model: in eval mode; left as it was.
            inputs: a nest of tensors ``[N, ...]``; N is the batch that is timed.

        Raises:
            EngineError: if the engine cannot run the network; names the operator where it is known.
        """

    def prepare_chain(self, modules: nn.Sequential, inputs: torch.Tensor) -> Runner:
        """The same for convolutions and linear layers in a row; an engine may have a shorter way for them."""
        return self.prepare(modules, inputs)

    def options(self) -> dict[str, Any]:
        """All that changes what it measures, as plain values."""
        return {"engine": self.name, "threads": self.threads, "dtype": self.dtype}

    def versions(self) -> dict[str, str]:
        """Of the software that runs."""
        return {"torch": torch.__version__}

    def device(self) -> str:
        """The processor, as the system names it."""
        return processor()

    def fingerprint(self) -> dict[str, Any]:
        """What a table of times is only good for: options, versions, device."""
        return {**self.options(), "versions": self.versions(), "device": self.device()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.options().items() if k != 'engine')})"


@lru_cache(maxsize=1)
def processor() -> str:
    """The machine's processor: its model and how many cores the system counts."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
        facts = {key.strip(): value.strip() for key, value in found.items()}
        name = facts.get("model name") or facts.get("Model") or platform.machine()
        number = f" family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else ""
        return f"{name}{number}"
    except OSError:
        return platform.processor() or platform.machine()
