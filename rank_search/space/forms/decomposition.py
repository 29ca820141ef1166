"""What a form must know about one layer and its weight. Plug-in group: ``rank_search.decompositions``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import InvalidInputError, PluginError
from rank_search.plugins import Registry, check_names
from rank_search.space.forms import factor_shapes
from rank_search.space.forms.estimate import Estimate
from rank_search.space.forms.factor_shapes import Shapes
from rank_search.space.forms.low_rank import LowRank, low_rank
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.plan import Choice


class Decomposition(ABC):
    """A stateless description of one form. Arrays of ranks have shape ``[n, modes]``, one rank tuple a row.

    Attributes:
        name: the form's name in plans and configs.
        modes: a name for each rank of a tuple.
        exempt: the modes that are no channel counts, which ``multiple_of`` therefore leaves alone.
        nested: the modes along which approximations are nested: with all other modes fixed, what a greater rank adds is
            orthogonal to all that smaller ones hold (with two such modes: what every pair of indices adds).
    """

    name: ClassVar[str]
    modes: ClassVar[tuple[str, ...]]
    exempt: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

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

    def why_infeasible(self, layer: Layer, ranks: tuple[int, ...]) -> str:
        """Why :meth:`feasible` is False for ranks that are not above the largest."""
        return f"no {self.name} of this weight has the ranks {list(ranks)}: one mode is too small for the other"

    @abstractmethod
    def factor_shapes(self, layer: Layer, ranks: IntArray) -> Shapes:
        """The factors of every rank tuple, in the order they run; costs and modules follow from it."""

    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        """Weights of the factors without bias, ``[n]``."""
        return factor_shapes.params(layer, self._shapes(layer, ranks))

    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        """Multiply-adds of the factors for one sample, ``[n]``."""
        return factor_shapes.macs(layer, self._shapes(layer, ranks))

    @abstractmethod
    def errors(self, weight: LayerWeight, ranks: IntArray) -> FloatArray:
        """``||W - What||^2`` of ``weight.tensor`` for every rank tuple, ``[n]``; inf where no fit was found.

        What takes long is computed once by :meth:`LayerWeight.part`, which is asked for it again and again.
        """

    def estimate(self, weight: LayerWeight, ranks: IntArray, fitted: NDArray[np.bool_] | None = None) -> Estimate:
        """What a table holds: the errors of all rank tuples; a form whose fits take long may interpolate some.

        Args:
            weight, ranks: as in :meth:`errors`, which is what this is unless a form overrides it.
            fitted: those that must be measured, ``[n]``.
        """
        return Estimate.exact(self.errors(weight, ranks))

    @abstractmethod
    def factors(self, weight: LayerWeight, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        """The factors ``[groups, out / groups, in / groups, taps]`` in the order of :meth:`factor_shapes`."""

    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        """The factorised module with weights on the meta device, geometry taken from the dense ``module``."""
        shapes = self._shapes(Layer.of("", module), np.array([ranks], dtype=np.int64))
        return low_rank(Choice(self.name, ranks), factor_shapes.modules(module, shapes), module)

    def _shapes(self, layer: Layer, ranks: IntArray) -> Shapes:
        shapes = self.factor_shapes(layer, ranks)
        if layer.kind == "linear" and any(np.any(np.asarray(shape.groups) != 1) for shape in shapes):
            raise InvalidInputError(
                f"the form {self.name!r} has factors in groups in the linear layer {layer.name!r}: linear layers have "
                "no groups; say so in why_not"
            )
        return shapes


decompositions: Registry[Decomposition] = Registry("rank_search.decompositions", "form", lambda: Decomposition)


def decomposition(name: str, **options: Any) -> Decomposition:
    """The registered decomposition of that name.

    Args:
        name: as :attr:`decompositions` lists it, or ``module:Class``.
        options: for its constructor.

    Raises:
        UnknownNameError: if there is none.
        InvalidInputError: if it refuses the options.
        PluginError: if it cannot be imported or made.
    """
    cls = decompositions.get(name)
    if options:
        check_names(cls, options, f"the form {name!r}", InvalidInputError)
    try:
        form = cls(**options)
    except InvalidInputError:
        raise
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
