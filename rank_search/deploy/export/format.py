"""The contract of a format that networks are exported to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from torch import nn

from rank_search.deploy.engines.choose import EngineSpec, make_engine
from rank_search.deploy.engines.engine import Engine, Runner
from rank_search.errors import EngineError
from rank_search.nests import Nest


class Format(ABC):
    """How a network becomes a file, and how that file is run.

    Attributes:
        name: as ``--to`` names it.
        file: the name of the file.
        engine: what runs it unless told.
        folds: whether the network is a graph of its own, so that batch norm may be folded into it.
    """

    name: ClassVar[str]
    file: ClassVar[str]
    engine: ClassVar[str]
    folds: ClassVar[bool] = True

    @abstractmethod
    def write(self, network: nn.Module, inputs: Nest, path: Path, dynamic: bool) -> None:
        """Writes the file.

        Args:
            network: in eval mode, on the CPU.
            inputs: a nest of at least 2 samples if the batch is free.
            path: of the file.
            dynamic: whether the batch is free.

        Raises:
            EngineError: if the network cannot be exported; names the operator where it is known.
        """

    @abstractmethod
    def runner(self, path: Path, network: nn.Module, inputs: Nest, engine: Engine) -> Runner:
        """Reads the file and makes it ready for inputs.

        Args:
            path: of the file.
            network: that was exported, for formats that hold weights alone.
            inputs: of any batch size, if the batch is free.
            engine: that :meth:`make_engine` took.

        Raises:
            EngineError
        """

    def make_engine(self, spec: EngineSpec | None) -> Engine:
        """The engine that runs the file.

        Raises:
            EngineError: if it does not read this format.
        """
        engine = make_engine(self.engine if spec is None else spec)
        if not self.runs_in(engine):
            raise EngineError(f"the engine {engine.name} does not run {self.name} files: use {self.engine}")
        return engine

    @abstractmethod
    def runs_in(self, engine: Engine) -> bool:
        """Whether an engine reads the format."""

    @abstractmethod
    def loading(self, network: nn.Module) -> str:
        """Python that loads and runs the file without rank-search, for people."""
