"""Forward passes that a searcher runs by itself: none goes by uncounted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from rank_search.nests import held

TRAINING_PASSES = 2  # of a batch that is charged as trained: the network's own, and one of the dense one beside it


class Passes:
    """Samples that were paid for, and may be run through a network.

    A charge of forward samples pays for as many, a training batch for :data:`TRAINING_PASSES` times its own; what runs
    beyond that is charged as it runs.

    Args:
        charge: called with the forward samples that were not paid for.

    Attributes:
        ran: samples that were run, paid for before or not.
    """

    def __init__(self, charge: Callable[[int], None]) -> None:
        self._charge, self._paid = charge, 0
        self.ran = 0

    def pay(self, samples: int) -> None:
        """Notes that so many samples were charged."""
        self._paid += samples

    def run(self, samples: int) -> None:
        """Takes what a pass over so many samples needs from what was paid; charges the rest.

        Raises:
            LimitReached: if a limit would be passed; nothing was run then.
        """
        missing = max(0, samples - self._paid)
        if missing:
            self._charge(missing)
        self._paid -= samples - missing
        self.ran += samples

    def watch(self, model: nn.Module) -> nn.Module:
        """The network, every call of which, or of a copy, is a pass."""
        model.register_forward_pre_hook(_Watch(self), with_kwargs=True)
        return model


class _Watch:
    """A forward pre-hook that copies of a network share."""

    def __init__(self, passes: Passes) -> None:
        self.passes = passes

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        tensors = [tensor for tensor in held([args, kwargs]) if tensor.ndim]
        self.passes.run(len(tensors[0]) if tensors else 1)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Watch:
        return self


def unwatched(model: nn.Module) -> nn.Module:
    """The network without the counting of its passes, in place."""
    for module in model.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, _Watch):
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
    return model
