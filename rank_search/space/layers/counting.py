"""Counting the multiply-adds of a network by running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from rank_search.errors import InvalidInputError, told
from rank_search.nests import Nest, call, check_nest, described, mapped, moved
from rank_search.running import device_of, evaluating, observed
from rank_search.space.layers.operators import has_formula, macs_of


@dataclass(frozen=True)
class Count:
    """Args:
    macs: multiply-adds of one sample.
    not_counted: operators that compute and are not known, in the order they ran; they are not in the sum.
    """

    macs: int
    not_counted: tuple[str, ...] = ()


def count(model: nn.Module, example: Nest) -> Count:
    """Multiply-adds of one sample, from the operators that run: the independent check of every closed form.

    It depends neither on the device nor on what torch fuses there: what is fused has a formula of its own, and
    attention runs as plain products where it can.

    Raises:
        InvalidInputError: if the model cannot run the example.
    """
    with counting() as counter:
        run_sample(model, example)
    return counter.count


def count_macs(model: nn.Module, example: Nest) -> int:
    """Multiply-adds of one sample (see :func:`count`).

    Raises:
        InvalidInputError: if the model cannot run the example.
    """
    return count(model, example).macs


def macs_by_module(model: nn.Module, example: Nest, names: Iterable[str]) -> dict[str, int]:
    """Multiply-adds that run inside each of these modules, 0 for one that is never called.

    Raises:
        InvalidInputError: if the model cannot run the example.
    """
    found = dict.fromkeys(names, 0)
    started: list[int] = []
    modules = {name: model.get_submodule(name) for name in found}
    with counting() as counter:

        def enter(name: str, given: Any) -> None:
            started.append(counter.macs)

        def leave(name: str, given: Any, output: Any) -> None:
            found[name] += counter.macs - started.pop()

        with observed(modules, enter, leave):
            run_sample(model, example)
    return found


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what runs inside it.

    Attributes:
        macs: multiply-adds so far.
        unknown: operators without a formula.
        parameters: identities of the parameters that operators were given.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.unknown: dict[str, None] = {}
        self.parameters: set[int] = set()

    @property
    def count(self) -> Count:
        return Count(self.macs, tuple(self.unknown))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        operator: Any = func
        if not isinstance(func, torch._ops.OpOverload):  # a higher-order operator: its body is not seen from here
            self.unknown[str(func)] = None
            return func(*args, **given)
        self.parameters.update(id(value) for value in args if isinstance(value, nn.Parameter))
        nested = any(isinstance(value, Tensor) and value.is_nested for value in args)  # they do not come apart
        if not has_formula(func) and not nested:
            with self:  # inference mode lets through what otherwise arrives in parts
                parts = operator.decompose(*args, **given)
            if parts is not NotImplemented:
                return parts
        output = func(*args, **given)
        macs = macs_of(func, args, given, output)
        if macs is None:
            self.unknown[operator.name().partition(".")[0].removeprefix("aten::").strip("_")] = None
        else:
            self.macs += macs
        return output


@contextmanager
def counting() -> Iterator[Counter]:
    """Counts what runs inside."""
    counter = Counter()
    with attention_as_products(), counter:
        yield counter


def run_sample(model: nn.Module, example: Nest) -> Any:
    """Runs the first sample of a nest through a network in evaluation mode, and leaves the network as it was.

    What a network draws while it runs it draws from the same seed every time.

    Returns:
        What the network puts out.

    Raises:
        InvalidInputError: if there is no sample, or the model cannot run it.
    """
    if check_nest(example, "the example input") == 0:
        raise InvalidInputError(f"the example input has shape {described(example)}; give a batch of at least 1 sample")
    first = mapped(example, lambda tensor: tensor[:1])
    try:
        device = device_of(model)
        with evaluating(model), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            return call(model, moved(first, device))
    except Exception as error:
        raise InvalidInputError(f"the model cannot run an input of shape {described(first)}: {told(error)}") from error


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
