"""Trying out whether layers can be replaced: a copy of the network runs, in which the layers stand in boxes.

What is claimed must be what runs. A box is what a decomposed layer is (:class:`LowRank`), with the dense layer as its
only factor: it multiplies out to the dense weight exactly, so that the network must put out what it did, call every box
as it called the layer, and compute with no layer's weight by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.copying import copy_network
from rank_search.errors import InvalidInputError
from rank_search.nests import Nest, call, held, mapped, moved
from rank_search.running import device_of, observed
from rank_search.space.forms.absent_weight import AbsentWeight
from rank_search.space.forms.low_rank import LowRank, low_rank
from rank_search.space.layers.counting import attention_as_products, run_sample
from rank_search.space.layers.layer import Call
from rank_search.space.layers.trace import Trace, recorder
from rank_search.space.plan import Choice

TOLERANCE = 1e-3  # relative to the largest output; the same arithmetic runs, so it guards against other networks only
READS = "the network computes with its weight directly"
READS_IN_TRAINING = "the network computes with its weight directly when it is trained"
CLOSURE = "it is called through a closure or a patched method that a copy of the network does not follow"
NOT_CALLED = "once replaced, it is not called any more"
OTHERWISE = "once replaced, it is called otherwise than the dense layer"
DIFFERS = "once replaced by its own full-rank equal, the network puts out something else"


def why_not_replaceable(model: nn.Module, example: Nest, traced: Trace, names: Sequence[str]) -> dict[str, str]:
    """The layers among these whose replacement does not work in this network, with the reason.

    Args:
        model: left as it was.
        example: as in :func:`trace`.
        traced: of the same model and example.
        names: of layers of the trace.

    Raises:
        InvalidInputError: if the network cannot be copied, or a mere copy of it does not run.
    """
    if not names:
        return {}
    trial = _Trial(model, example, traced)
    bad: dict[str, str] = {}
    if trial.run(names):
        trial.check_copy()
        bad = trial.failing(list(names))
    return bad | trial.read_in_training([name for name in names if name not in bad])


class _Trial:
    """Runs of copies of one network.

    Args:
        model, example, traced: as in :func:`why_not_replaceable`.
    """

    def __init__(self, model: nn.Module, example: Nest, traced: Trace) -> None:
        self._model, self._example, self._traced = model, example, traced
        self._layers = {name: model.get_submodule(name) for name in traced.layers}
        self._compares = True

    def check_copy(self) -> None:
        """Runs a copy with nothing replaced; if not even that puts out the same, outputs are not compared.

        Raises:
            InvalidInputError: if it does not run.
        """
        found = self.run([])
        if isinstance(found, str):
            if found != DIFFERS:
                raise InvalidInputError(f"a copy of the network, on which compression works, does not run: {found}")
            self._compares = False

    def failing(self, names: list[str], kept: Sequence[str] = ()) -> dict[str, str]:
        """Of these layers those that fail together with the kept ones, which work; found by halving."""
        found = self.run([*kept, *names]) if names else {}
        if not found:
            return {}
        if isinstance(found, dict):
            known = {name: reason for name, reason in found.items() if name in names}
            if known:
                return known | self.failing([name for name in names if name not in known], kept)
            found = next(iter(found.values()))
        if len(names) == 1:
            return {names[0]: found}
        half = len(names) // 2
        bad = self.failing(names[:half], kept)
        return bad | self.failing(names[half:], [*kept, *(name for name in names[:half] if name not in bad)])

    def read_in_training(self, names: Sequence[str]) -> dict[str, str]:
        """Those whose weight the network computes with in training mode; whether it trains well is not looked at."""
        boxes, network = self._replaced(names)
        twice = mapped(self._example, lambda tensor: torch.cat([tensor[:1], tensor[:1]]))  # batch norm asks for two
        device = device_of(self._model)
        with (
            suppress(Exception),
            torch.no_grad(),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
        ):
            torch.manual_seed(0)
            _asked_for(call(network.train(), moved(twice, device)))
        return {name: READS_IN_TRAINING for name, box in boxes.items() if box.weight_was_read}

    def _replaced(self, names: Sequence[str]) -> tuple[dict[str, LowRank], nn.Module]:
        """Boxes, and a copy of the network in which they stand; it shares the network's parameters."""
        boxes = {name: _box(self._layers[name]) for name in names}
        memo: dict[int, Any] = {id(parameter): parameter for parameter in self._model.parameters()}
        memo |= {id(self._layers[name]): box for name, box in boxes.items()}
        return boxes, copy_network(self._model, memo)

    def run(self, names: Sequence[str]) -> dict[str, str] | str:
        """Replaces these layers together: reasons by layer, one reason for all, or nothing where all is well."""
        boxes, network = self._replaced(names)
        calls: dict[str, list[Call]] = {}
        originals: set[str] = set()
        outputs, failure = None, ""
        with (
            observed(boxes, after=recorder(calls, self._layers)),
            observed(self._layers, before=lambda name, given: originals.add(name)),
            attention_as_products(),
        ):
            try:
                outputs = run_sample(network, self._example)
                _asked_for(outputs)
            except InvalidInputError as error:
                failure = f"once replaced, {error}"
        found = {name: READS for name, box in boxes.items() if box.weight_was_read}
        if found:
            return found
        if failure:
            return failure
        for name in names:
            made, wanted = calls.get(name, []), list(self._traced.layers[name].calls)
            if name in originals:
                found[name] = CLOSURE
            elif made != wanted:
                found[name] = OTHERWISE if made else NOT_CALLED
        if found:
            return found
        return DIFFERS if self._compares and not _alike(self._traced.outputs, outputs) else {}


def _box(layer: nn.Module) -> LowRank:
    return low_rank(Choice("box", (1,)), [copy.copy(layer)], layer)


def _asked_for(outputs: Any) -> None:
    """A weight that the network puts out is asked for, too."""
    for tensor in _tensors(outputs):
        if isinstance(tensor, AbsentWeight):
            tensor.asked()


def _alike(wanted: Any, found: Any) -> bool:
    before, after = _tensors(wanted), _tensors(found)
    return len(before) == len(after) and all(map(_close, before, after))


def _close(wanted: Tensor, found: Tensor) -> bool:
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return False
    if not wanted.numel():
        return True
    if not (wanted.is_floating_point() or wanted.is_complex()):
        return torch.equal(wanted, found)
    finite = wanted.abs()[wanted.isfinite()]
    scale = float(finite.max()) if finite.numel() else 1.0
    return torch.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)


def _tensors(value: Any) -> list[Tensor]:
    """All dense tensors in what a network puts out, whatever holds them."""
    return [tensor for tensor in held(value, inside=is_dataclass) if tensor.layout == torch.strided]
