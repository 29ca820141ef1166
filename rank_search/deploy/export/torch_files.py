"""PyTorch's own files: programs of torch.export, and TorchScript."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from rank_search.deploy.engines.eager import Eager, TorchRunner
from rank_search.deploy.engines.engine import Engine, Runner
from rank_search.deploy.engines.onnx_export import as_called, why_not_exported
from rank_search.deploy.export.format import Format
from rank_search.errors import EngineError, told
from rank_search.nests import Nest
from rank_search.running import evaluating

jit: Any = torch.jit


class TorchFile(Format):
    """A file that torch itself runs, operator after operator."""

    engine: ClassVar[str] = "eager"

    def __init__(self) -> None:
        self._read: dict[Path, Callable[..., Any]] = {}

    @abstractmethod
    def function(self, path: Path, network: nn.Module) -> Callable[..., Any]:
        """What the file holds, to be called as the network is."""

    def runner(self, path: Path, network: nn.Module, inputs: Nest, engine: Engine) -> Runner:
        try:
            if path not in self._read:
                self._read[path] = self.function(path, network)
            runner = TorchRunner(self._read[path], inputs, engine.threads)
            runner.run()
        except Exception as error:
            raise EngineError(f"torch cannot run the exported {self.name} file: {told(error)}") from error
        return runner

    def runs_in(self, engine: Engine) -> bool:
        return type(engine) is Eager

    def make_engine(self, spec: Any) -> Engine:
        engine = super().make_engine(spec)
        return Eager(engine.threads, channels_last=False)  # the file says how it is laid out


class Pt2(TorchFile):
    """A program of ``torch.export``."""

    name: ClassVar[str] = "pt2"
    file: ClassVar[str] = "model.pt2"

    def write(self, network: nn.Module, inputs: Nest, path: Path, dynamic: bool) -> None:
        args, kwargs, shapes = as_called(inputs)
        try:
            with evaluating(network), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.export(network, args, kwargs, dynamic_shapes=shapes if dynamic else None)
                for node in program.graph.nodes:
                    node.meta.pop("stack_trace", None)  # paths of the machine that exported it
                torch.export.save(program, path)
        except Exception as error:
            raise EngineError(
                f"{type(network).__name__} cannot be exported to {self.name}: {why_not_exported(error)}"
            ) from error

    def function(self, path: Path, network: nn.Module) -> Callable[..., Any]:
        module: Callable[..., Any] = torch.export.load(path).module()
        return module

    def loading(self, network: nn.Module) -> str:
        return f'import torch\n\nnetwork = torch.export.load("{self.file}").module()\noutputs = network(inputs)\n'


class TorchScript(TorchFile):
    """TorchScript, traced: what depends on the values of inputs is as it was for the example."""

    name: ClassVar[str] = "torchscript"
    file: ClassVar[str] = "model.ts"

    def write(self, network: nn.Module, inputs: Nest, path: Path, dynamic: bool) -> None:
        named = isinstance(inputs, Mapping)
        given = {"example_kwarg_inputs": dict(inputs)} if named else {"example_inputs": as_called(inputs)[0]}
        try:
            with evaluating(network), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                traced: Any = jit.trace(network, strict=False, check_trace=False, **given)
                jit.save(traced, path)
        except Exception as error:
            raise EngineError(
                f"{type(network).__name__} cannot be exported to {self.name}: {why_not_exported(error)}"
            ) from error

    def function(self, path: Path, network: nn.Module) -> Callable[..., Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: Callable[..., Any] = jit.load(path)
        return module

    def loading(self, network: nn.Module) -> str:
        return f'import torch\n\nnetwork = torch.jit.load("{self.file}")\noutputs = network(inputs)\n'
