"""Channels last while a network of images is trained on a CPU: factors of few channels run up to twice as fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rank_search.copying import copy_network
from rank_search.nests import Nest, call, leaves, mapped
from rank_search.running import device_of, evaluating

TOLERANCE = 1e-3


@contextmanager
def channels_last(model: nn.Module, inputs: Nest) -> Iterator[bool]:
    """The network with its kernels laid out channels last, where that is known to work; as it was at the end.

    A network on another device, without two-dimensional convolutions, or that cannot run so (it asks for a view of an
    activation, say) stays as it is.

    Args:
        model: its parameters stay the same objects.
        inputs: a batch, whose first samples are tried.

    Yields:
        Whether it is laid out so.
    """
    if device_of(model).type != "cpu" or not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        yield False
        return
    works = _works(model, mapped(inputs, lambda tensor: tensor[:2]))
    try:
        if works:
            model.to(memory_format=torch.channels_last)
        yield works
    finally:
        if works:
            model.to(memory_format=torch.contiguous_format)


def _works(model: nn.Module, sample: Nest) -> bool:
    """Whether copies of the network put out the same in both layouts."""
    try:
        with torch.random.fork_rng(devices=[]):
            before, after = (_outputs(copy_network(model), sample, last) for last in (False, True))
    except Exception:  # whatever it is, training says it of the network as it was
        return False
    pairs = list(zip(before, after, strict=False))
    finite = all(bool(tensor.isfinite().all()) for pair in pairs for tensor in pair)
    return bool(pairs) and finite and all(_alike(*pair) for pair in pairs)


def _outputs(copy: nn.Module, sample: Nest, last: bool) -> list[Tensor]:
    if last:
        copy.to(memory_format=torch.channels_last)
    with evaluating(copy):
        return leaves(call(copy, sample))


def _alike(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return one.shape == other.shape and bool((one == other).all())
    return torch.allclose(one, other, TOLERANCE, TOLERANCE * float(one.abs().max()))
