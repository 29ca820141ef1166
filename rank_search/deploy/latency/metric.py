"""How long a run of the network takes, as a cost that budgets bound."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from rank_search.arrays import FloatArray, IntArray
from rank_search.deploy.engines import Engine, EngineSpec, Timing, make_engine, time_in_turn
from rank_search.deploy.engines.prepared import prepared, prepared_chain
from rank_search.deploy.latency.geometry import Geometry, drawn, filled, neighbour
from rank_search.deploy.latency.grid import interpolated
from rank_search.deploy.latency.table import LatencyTable
from rank_search.errors import EngineError, InvalidInputError
from rank_search.listening import tell
from rank_search.nests import Nest, mapped
from rank_search.space import Decomposition, Layer, Metric

GROUP = 24  # options that are timed in turn, with their dense layer among them
ROUNDS, SLICE_S = 11, 1e-3
WHOLE_ROUNDS = 15
NANO = 1e9


class Latency(Metric):
    """Milliseconds of one run of the network in an engine; budgets count nanoseconds.

    The cost of a plan is ``scale * (sum of its layers' times) + rest``. A layer's time is that of the factors in a row
    with random weights and a bias at the end, in an engine that blocks channels between two neighbours whose time is
    taken off; ranks between those that were timed are interpolated
    (:func:`interpolated`). ``scale`` and ``rest`` come from whole networks (:func:`calibrate`); before that ``scale``
    is 1 and ``rest`` what the dense network takes beyond its layers.

    Args:
        engine: its name, ``{name: {option: value}}``, or an :class:`Engine`.
        batch: samples of one run.
        table: times that are known; empty unless given.
        measures: whether times that the table lacks are measured; else they are an error.

    Attributes:
        table: what was measured.

    Raises:
        EngineError: if the engine is not installed.
    """

    name: ClassVar[str] = "latency_ms"
    unit: ClassVar[str] = "ns"
    exact: ClassVar[bool] = False
    per_unit: ClassVar[int] = 1_000_000

    def __init__(
        self, engine: EngineSpec = "eager", batch: int = 1, table: LatencyTable | None = None, measures: bool = True
    ) -> None:
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise InvalidInputError(f"batch={batch!r} is not allowed: give a whole number from 1")
        self.engine: Engine = make_engine(engine)
        if not self.engine.times_layers:
            raise InvalidInputError(
                f"the engine {self.engine.name} takes seconds to prepare each of the hundreds of layers that a table "
                "needs: budget with eager or onnxruntime, and time the answer in it"
            )
        self.batch, self.measures = batch, measures
        self.table = LatencyTable(self.fingerprint()) if table is None else table
        self._modules: dict[str, nn.Module] = {}
        self._geometries: dict[str, Geometry] = {}

    def fingerprint(self) -> dict[str, Any]:
        """What its times are only good for."""
        kind = type(self.engine)
        found = {**self.engine.fingerprint(), "class": f"{kind.__module__}:{kind.__qualname__}", "batch": self.batch}
        try:
            json.dumps(found)
        except (TypeError, ValueError) as error:
            raise EngineError(f"the options of the engine {self.engine.name} are no plain data: {error}") from error
        return found

    def of_network(self, model: nn.Module, example: Nest) -> Latency:
        other = copy.copy(self)
        other._modules, other._geometries = dict(model.named_modules()), {}
        return other

    def of_options(self, layer: Layer, form: Decomposition, ranks: IntArray) -> IntArray:
        geometry = self._geometry(layer)
        total, offered = np.zeros(len(ranks)), form.candidates(layer)
        for shape in geometry.shapes:

            def measured(wanted: Sequence[tuple[int, ...]], shape: tuple[int, ...] = shape) -> FloatArray:
                return self.times(geometry, shape, form, wanted)

            known = self.table.of(geometry.key(shape, form.name))
            total += interpolated(ranks, offered, self.engine.width, measured, known)
        return np.rint(self.scale * total).astype(np.int64)

    def dense(self, layer: Layer) -> int:
        geometry = self._geometry(layer)
        return round(self.scale * sum(float(self.times(geometry, shape)[0]) for shape in geometry.shapes))

    def rest(self, model: nn.Module, example: Nest, layers: Sequence[Layer]) -> int:
        if self.table.fit is not None:
            return int(self.table.fit["rest"])
        return max(0, self.measure(model, example) - sum(self.dense(layer) for layer in layers))

    def measure(self, model: nn.Module, example: Nest) -> int:
        (found,) = self.measure_in_turn([model], example)
        return found

    def measure_in_turn(self, models: Sequence[nn.Module], example: Nest) -> list[int]:
        """Nanoseconds of a run of each, timed one after another in several rounds.

        Args:
            models: whole networks.
            example: a nest ``[N, ...]``; its first sample is repeated to the batch.
        """
        return [round(timing.least * NANO) for timing in self.time_in_turn(models, example)]

    def time_in_turn(self, models: Sequence[nn.Module], example: Nest) -> list[Timing]:
        """As :meth:`measure_in_turn`, with what the rounds say of the noise."""
        inputs = self.inputs(example)
        return time_in_turn([prepared(self.engine, model, inputs) for model in models], WHOLE_ROUNDS)

    def inputs(self, example: Nest) -> Nest:
        """The first sample of an example, repeated to the batch."""
        return mapped(example, lambda tensor: torch.cat([tensor[:1]] * self.batch))

    @property
    def width(self) -> int:
        return self.engine.width

    @property
    def scale(self) -> float:
        """What whole networks take of the sum of their layers."""
        return 1.0 if self.table.fit is None else float(self.table.fit["scale"])

    def is_measured(self, layer: Layer, form: str, ranks: tuple[int, ...]) -> bool:
        """Whether an option's time was measured itself."""
        geometry = self._geometry(layer)
        return all(ranks in self.table.of(geometry.key(shape, form)) for shape in geometry.shapes)

    def time_exactly(self, layer: Layer, form: Decomposition, ranks: Sequence[tuple[int, ...]]) -> None:
        """Measures these options of a layer, as far as they are not."""
        geometry = self._geometry(layer)
        for shape in geometry.shapes:
            self.times(geometry, shape, form, ranks)

    def times(
        self,
        geometry: Geometry,
        shape: tuple[int, ...],
        form: Decomposition | None = None,
        ranks: Sequence[tuple[int, ...]] = ((),),
    ) -> FloatArray:
        """Nanoseconds of one call of the layer in a form, per rank tuple; of the dense layer without a form.

        Raises:
            EngineError: if a time is missing and this metric does not measure.
        """
        key = geometry.key(shape, "dense" if form is None else form.name)
        known = self.table.of(key)
        missing = [one for one in ranks if one not in known]
        if missing and not self.measures:
            lacked = f"{key} {','.join(map(str, missing[0]))}".rstrip()
            raise EngineError(f"the table of latencies lacks {lacked!r}: it was cut off; measure it again")
        for start in range(0, len(missing), GROUP):
            self._time(geometry, shape, form, missing[start : start + GROUP])
        return np.array([known[one] for one in ranks])

    def _time(
        self,
        geometry: Geometry,
        shape: tuple[int, ...],
        form: Decomposition | None,
        wanted: Sequence[tuple[int, ...]],
    ) -> None:
        """Times options in turn with their dense layer, whose first time is what all others are put in terms of."""
        generator = torch.Generator().manual_seed(0)
        dense = filled(geometry.module, generator)
        chains = [dense]
        if form is not None:
            chains += [filled(form.skeleton(geometry.module, ranks), generator) for ranks in wanted]
        given, alone = drawn(shape, generator), []
        if self.engine.blocks_channels:
            with torch.inference_mode():
                made = dense(given)
            before, after = neighbour(given, geometry.module), neighbour(made, geometry.module)
            alone = [(nn.Sequential(before, before), given), (nn.Sequential(after, after), made)]
            chains = [nn.Sequential(before, *chain, after) for chain in chains]
        runners = [
            prepared_chain(self.engine, chain, inputs) for chain, inputs in [*alone, *((c, given) for c in chains)]
        ]
        timings = [NANO * timing.least for timing in time_in_turn(runners, ROUNDS, SLICE_S)]
        tell("timing layers", len(self.table))
        around = sum(timings[: len(alone)]) / 2
        reference, *others = [max(time - around, 0.02 * time) for time in timings[len(alone) :]]
        first = self.table.of(geometry.key(shape)).setdefault((), reference)
        if form is not None:
            factor = first / reference
            found = {ranks: factor * time for ranks, time in zip(wanted, others, strict=True)}
            self.table.of(geometry.key(shape, form.name)).update(found)

    def _geometry(self, layer: Layer) -> Geometry:
        if layer.name not in self._modules:
            raise InvalidInputError(
                f"{self.name} is a cost of one network's layers and does not know {layer.name!r}: give it to "
                "RankSpace.from_model(metrics=[...])"
            )
        if layer.name not in self._geometries:
            self._geometries[layer.name] = Geometry.of(layer, self._modules[layer.name], self.batch)
        return self._geometries[layer.name]

    def __getstate__(self) -> dict[str, Any]:
        """Without the network's weights."""
        return {**vars(self), "_modules": {name: geometry.module for name, geometry in self._geometries.items()}}

    def __repr__(self) -> str:
        return f"Latency({self.engine!r}, batch={self.batch}, {len(self.table)} times)"
