"""What a form of decomposition must know about one layer. Plug-in group: ``rank_search.decompositions``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rank_search.errors import PluginError
from rank_search.plugins import Registry
from rank_search.space.layer import Layer
from rank_search.space.low_rank import LowRank

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Analysis = dict[str, Tensor]
"""What a decomposition computed once from a weight (float64, CPU), enough for the errors and factors of every rank."""


class Decomposition(ABC):
    """A stateless description of one form. Arrays of ranks have shape ``[n, modes]``, one rank tuple a row.

    Attributes:
        name: the form's name in plans and configs.
        modes: a name for each rank of a tuple.
        version: raised when the numbers of an analysis change, so that cached ones are not reused.
    """

    name: ClassVar[str]
    modes: ClassVar[tuple[str, ...]]
    version: ClassVar[int] = 1

    @abstractmethod
    def why_not(self, layer: Layer) -> str | None:
        """Why this form does not apply to the layer, or None when it does."""

    @abstractmethod
    def largest_ranks(self, layer: Layer) -> tuple[int, ...]:
        """The largest rank of each mode."""

    @abstractmethod
    def candidates(self, layer: Layer) -> IntArray:
        """All rank tuples that are offered, ``[n, modes]``; those dearer than the dense layer are dropped later."""

    @abstractmethod
    def feasible(self, layer: Layer, ranks: IntArray) -> NDArray[np.bool_]:
        """Which rank tuples a factorisation can really have, ``[n]``."""

    @abstractmethod
    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        """Weights of the factors without bias, ``[n]``, in closed form."""

    @abstractmethod
    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        """Multiply-adds of the factors for one sample, ``[n]``, in closed form."""

    @abstractmethod
    def analyse(self, layer: Layer, weight: Tensor, ranks: IntArray) -> Analysis:
        """Decomposes the weight once (float64, on the CPU), for at least the given ranks."""

    @abstractmethod
    def errors(self, layer: Layer, analysis: Analysis, ranks: IntArray) -> FloatArray:
        """Squared Frobenius error ``||W - What||^2`` of every rank tuple, ``[n]``; inf where no fit was found."""

    @abstractmethod
    def factors(self, layer: Layer, analysis: Analysis, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        """The factors' weights in the order the modules of :meth:`skeleton` run."""

    @abstractmethod
    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        """The factorised module with weights on the meta device, geometry taken from the dense ``module``."""


decompositions: Registry[Decomposition] = Registry("rank_search.decompositions", "form", lambda: Decomposition)


def decomposition(name: str) -> Decomposition:
    """The registered decomposition of that name.

    Raises:
        UnknownNameError: if there is none.
        PluginError: if it cannot be imported or made.
    """
    cls = decompositions.get(name)
    try:
        form = cls()
    except Exception as error:
        raise PluginError(f"the form {name!r} cannot be made: {type(error).__name__}: {error}") from error
    form.name = name  # type: ignore[misc]  # plans name a form as it was asked for, "module:Class" included
    return form


def register_decomposition(name: str) -> Callable[[type[Any]], type[Any]]:
    """Class decorator that registers a decomposition in this process."""

    def add(cls: type[Any]) -> type[Any]:
        decompositions.register(name, cls)
        return cls

    return add


def bias_of(module: nn.Module) -> bool:
    """Whether the dense layer has a bias, which the last factor then carries."""
    return getattr(module, "bias", None) is not None
