"""What a cost must say of itself. Plug-in group: ``rank_search.metrics``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch import nn

from rank_search.arrays import IntArray
from rank_search.errors import InvalidInputError, PluginError
from rank_search.nests import Nest
from rank_search.plugins import Registry
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.layers.layer import Layer

ALWAYS = ("params", "macs")
"""The metrics that every space has, in the order of their columns; others follow."""


class Metric(ABC):
    """A cost that adds up over layers, in whole numbers of a unit small enough to be exact.

    Attributes:
        name: as budgets, columns of results and MLflow name it; a Python identifier.
        unit: what it counts, for people.
        exact: whether :meth:`measure` gives the same number every time, and the tables' sum is that number.
        width: of a time: ranks that are a multiple of it fill the machine's registers; None where there is no such.
        per_unit: how many of them a budget's absolute number counts as one: a budget of a time is in milliseconds.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    exact: ClassVar[bool] = True
    per_unit: ClassVar[int] = 1

    @property
    def width(self) -> int | None:
        return None

    def of_network(self, model: nn.Module, example: Nest) -> Metric:
        """The metric of one network: one whose costs depend on more than the geometry of :class:`Layer` reads it here.

        Args:
            model: the dense network.
            example: as in :meth:`measure`.
        """
        return self

    @abstractmethod
    def of_options(self, layer: Layer, form: Decomposition, ranks: IntArray) -> IntArray:
        """What the layer costs in this form at every rank tuple ``[n, modes]``: int64 ``[n]``, from 0."""

    @abstractmethod
    def dense(self, layer: Layer) -> int:
        """What the dense layer costs."""

    @abstractmethod
    def measure(self, model: nn.Module, example: Nest) -> int:
        """What a finished network costs, counted (or timed) on the network itself, independently of the tables.

        Args:
            model: dense or compressed; left as it was.
            example: a nest of inputs ``[N, ...]``; only the first sample counts.
        """

    def rest(self, model: nn.Module, example: Nest, layers: Sequence[Layer]) -> int:
        """What no plan over these layers changes: the dense network without them.

        Args:
            model: the dense network.
            example: as in :meth:`measure`.
            layers: those that plans may change.
        """
        return self.measure(model, example) - sum(checked_number(self, self.dense(layer)) for layer in layers)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, unit={self.unit!r})"


metrics: Registry[Metric] = Registry("rank_search.metrics", "metric", lambda: Metric)

MetricSpec = str | Metric
"""A registered name, ``module:Class``, or a metric."""

_seen: dict[str, type[Metric]] = {}  # given as objects or as ``module:Class``: budgets may use them from then on


def known_metrics() -> list[str]:
    """The names that a budget may use."""
    return [*ALWAYS, *sorted({*metrics.names(), *_seen} - {*ALWAYS})]


def per_unit_of(name: str) -> int:
    """How many units of a known metric a budget's absolute number counts as one (see :class:`Metric`).

    Raises:
        UnknownNameError, PluginError
    """
    return int((_seen.get(name) or metrics.get(name)).per_unit)


def make_metrics(specs: Iterable[MetricSpec] = ()) -> tuple[Metric, ...]:
    """``params`` and ``macs``, then the others that were asked for, each once.

    Raises:
        UnknownNameError, PluginError: if there is no such metric, or it cannot be made.
        InvalidInputError: if it is none, or two different ones have one name.
    """
    if isinstance(specs, str | Metric):
        raise InvalidInputError(f"metrics is {specs!r}; give a list, e.g. [{specs!r}]")
    found: dict[str, Metric] = {}
    for spec in (*ALWAYS, *specs):
        metric = _made(spec)
        other = found.setdefault(metric.name, metric)
        if isinstance(spec, Metric) and other is not metric and metric.name not in ALWAYS:
            raise InvalidInputError(f"two metrics are named {metric.name!r} ({other!r} and {metric!r}): give one")
        if type(other) is not type(metric):
            raise InvalidInputError(
                f"two metrics are named {metric.name!r} ({_path(other)} and {_path(metric)}): rename one"
            )
    return tuple(found.values())


def _made(spec: MetricSpec) -> Metric:
    if isinstance(spec, str):
        cls = metrics.get(spec)
        try:
            metric = cls()
        except Exception as error:
            raise PluginError(f"the metric {spec!r} cannot be made: {type(error).__name__}: {error}") from error
    elif isinstance(spec, Metric):
        metric = spec
    else:
        raise InvalidInputError(f"{spec!r} is no metric: give its name, 'module:Class', or a Metric")
    name = getattr(metric, "name", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise InvalidInputError(f"{_path(metric)} has the name {name!r}: a metric's name is an identifier, e.g. energy")
    if isinstance(spec, str) and ":" not in spec and name != spec:
        raise PluginError(f"the metric {spec!r} ({_path(metric)}) calls itself {name!r}: register it under that name")
    _seen[name] = type(metric)
    return metric


def checked_options(metric: Metric, layer: Layer, form: Decomposition, ranks: IntArray) -> IntArray:
    """:meth:`Metric.of_options` as int64 ``[n]``.

    Raises:
        InvalidInputError: if it is of another length, not whole, or negative.
    """
    what = f"the metric {metric.name!r} of {form.name} in layer {layer.name!r}"
    found: Any = np.asarray(metric.of_options(layer, form, ranks))
    if found.shape != (len(ranks),):
        raise InvalidInputError(f"{what} has the shape {list(found.shape)}; it must be [{len(ranks)}], one per option")
    if found.dtype.kind not in "iu":
        raise InvalidInputError(f"{what} is {found.dtype}; costs are whole numbers (int64): choose a smaller unit")
    if len(found) and found.min() < 0:
        raise InvalidInputError(f"{what} is {int(found.min())}; a cost is not negative")
    result: IntArray = found.astype(np.int64)
    return result


def checked_number(metric: Metric, value: Any) -> int:
    """A cost as an int.

    Raises:
        InvalidInputError: if it is not whole, or negative.
    """
    what = f"the metric {metric.name!r}"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidInputError(f"{what} is {value!r}; costs are whole numbers: choose a smaller unit")
    if value < 0:
        raise InvalidInputError(f"{what} is {value}; a cost is not negative")
    return int(value)


M = TypeVar("M", bound=type[Metric])


def register_metric(cls: M) -> M:
    """Class decorator that registers a metric in this process, under its own name.

    Raises:
        PluginError: if the name is taken.
    """
    metrics.register(cls.name, cls)
    return cls


def _path(metric: object) -> str:
    return f"{type(metric).__module__}:{type(metric).__qualname__}"
