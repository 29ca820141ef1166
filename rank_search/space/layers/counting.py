"""Counting the multiply-adds of a network by running it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rank_search.errors import InvalidInputError
from rank_search.nests import Nest, call, check_nest, described, mapped, moved
from rank_search.running import device_of, evaluating


def count_macs(model: nn.Module, example: Nest) -> int:
    """Multiply-adds of one sample by ``FlopCounterMode``: the independent check of every closed form.

    Attention runs as plain products, which every version of torch counts alike; what a CPU fuses, some count as 0.

    Raises:
        InvalidInputError: if the model cannot run the example.
    """
    counter = FlopCounterMode(display=False)
    with attention_as_products(), counter:
        run_sample(model, example)
    flops: int = counter.get_total_flops()
    return flops // 2


def run_sample(model: nn.Module, example: Nest) -> None:
    """Runs the first sample of a nest through a network in evaluation mode, and leaves the network as it was.

    Raises:
        InvalidInputError: if there is no sample, or the model cannot run it.
    """
    if check_nest(example, "the example input") == 0:
        raise InvalidInputError(f"the example input has shape {described(example)}; give a batch of at least 1 sample")
    first = mapped(example, lambda tensor: tensor[:1])
    try:
        with evaluating(model):
            call(model, moved(first, device_of(model)))
    except Exception as error:
        raise InvalidInputError(
            f"the model cannot run an input of shape {described(first)}: {type(error).__name__}: "
            + " ".join(str(error).split())
        ) from error


@contextmanager
def attention_as_products() -> Iterator[None]:
    """Attention runs unfused inside: torch's fast path is off, and scaled dot products are matrix products."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
