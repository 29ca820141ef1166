"""Whether an exported file says what the network says: outputs compared on several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rank_search.errors import EngineError, InvalidInputError, told
from rank_search.nests import Nest, call, check_nest, filled, held, leaves, mapped
from rank_search.running import evaluating

TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""The largest relative difference that a network of a dtype may have: rounding is in another order."""
TRACED, OTHERS = 2, (1, 5)
"""Samples in the batch that an exporter sees (of 1 it makes a constant), and in those that are tried besides."""

Predict = Callable[[Nest], Nest]
"""Runs a network on a nest ``[N, ...]`` of any N."""


@dataclass(frozen=True)
class Parity:
    """How far outputs are from the network's own.

    Args:
        absolute: the largest difference of a value.
        relative: the same, divided by the largest value of that output.
        tolerance: the largest ``relative`` that is allowed.
        batches: the batch sizes that were compared.
    """

    absolute: float
    relative: float
    tolerance: float
    batches: tuple[int, ...]


def difference(network: nn.Module, predict: Predict, inputs: Sequence[Nest]) -> Parity:
    """The largest difference over several inputs.

    Args:
        network: in torch, the reference.
        predict: the exported network.
        inputs: nests.

    Raises:
        EngineError: if the outputs differ in number or shape, or are not finite.
    """
    absolute = relative = 0.0
    for given in inputs:
        wanted = tensors_of(reference(network, given))
        found = tensors_of(predict(given))
        shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (wanted, found)]
        if shapes[0] != shapes[1]:
            raise EngineError(f"the exported network's outputs are {shapes[1]}, the network's {shapes[0]}")
        for one, other in zip(wanted, found, strict=True):
            if not one.numel():
                continue
            one, other = one.double(), other.double()
            if not bool(torch.isfinite(one).all() and torch.isfinite(other).all()):
                raise EngineError("outputs are not finite, so they cannot be compared: give an example as the data is")
            most = float((one - other).abs().max())
            absolute = max(absolute, most)
            relative = max(relative, most / (float(one.abs().max()) or 1.0))
    return Parity(absolute, relative, tolerance_of(network), tuple(check_nest(given, "inputs") for given in inputs))


def check_parity(network: nn.Module, predict: Predict, inputs: Sequence[Nest]) -> Parity:
    """The same, within the tolerance of the network's dtype.

    Raises:
        EngineError: if it is more; says by how much.
    """
    found = difference(network, predict, inputs)
    if found.relative > found.tolerance:
        raise EngineError(
            f"the exported network is not the network: outputs differ by {found.relative:.2g} of the largest "
            f"({found.absolute:.2g}), {found.tolerance:.0e} is allowed; does it depend on the batch, or draw at random?"
        )
    return found


def reference(network: nn.Module, inputs: Nest) -> Nest:
    """What the network says in torch, in eval mode.

    Raises:
        InvalidInputError: if it cannot run on the inputs.
    """
    try:
        with evaluating(network):
            return call(network, inputs)
    except Exception as error:
        raise InvalidInputError(
            f"{type(network).__name__} cannot run on the example, so it cannot be exported: {told(error)}"
        ) from error


def tolerance_of(network: nn.Module) -> float:
    """Of the coarsest dtype among the parameters."""
    return max((TOLERANCES[p.dtype] for p in network.parameters() if p.dtype in TOLERANCES), default=1e-4)


def tensors_of(outputs: Nest) -> list[Tensor]:
    """The tensors of what a network put out, on the CPU; anything else is passed over."""
    return [tensor.detach().cpu() for tensor in held(outputs)]


def varied(inputs: Nest) -> Nest:
    """The inputs, and noise of unit variance on what is a real number: an example of zeros would show little."""
    generator = torch.Generator().manual_seed(0)

    def with_noise(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return tensor + torch.randn(tensor.shape, generator=generator).to(tensor.device, tensor.dtype)

    return mapped(inputs, with_noise)


def example_batches(example: Nest, calibration: Nest | None, dynamic: bool) -> list[Nest]:
    """The inputs on which networks are compared: of the example's size, and of others if the batch is free."""
    count = check_nest(example, "the example")
    if calibration is not None:
        check_nest(calibration, "the calibration inputs")
        shapes = [[tuple(tensor.shape[1:]) for tensor in leaves(nest)] for nest in (example, calibration)]
        if shapes[0] != shapes[1]:
            raise InvalidInputError(f"calibration inputs have the shapes {shapes[1]} a sample, the example {shapes[0]}")
    sizes = dict.fromkeys((count, *OTHERS, *((TRACED,) if count == 1 else ()))) if dynamic else (count,)
    return [varied(filled(example, n)) if calibration is None else filled(calibration, n) for n in sizes]
