"""Running a network to look at it, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode comes back at the end."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter lives; the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@contextmanager
def observed(
    modules: Mapping[str, nn.Module],
    before: Callable[[str, Any], None] = lambda name, given: None,
    after: Callable[[str, Any, Any], None] = lambda name, given, output: None,
) -> Iterator[None]:
    """Hears of every call of these modules, with arguments by position or by keyword, also through ``.forward``.

    Args:
        modules: by any name.
        before: called with the name and the module's input.
        after: called with the name, the input and the output, the moment the module returns.
    """
    own = {name: vars(module).get("forward") for name, module in modules.items()}

    def listening(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            given = args[0] if args else kwargs.get("input", next(iter(kwargs.values()), None))
            before(name, given)
            output = forward(*args, **kwargs)
            after(name, given, output)
            return output

        return called

    try:
        for name, module in modules.items():
            module.forward = listening(name, module.forward)
        yield
    finally:
        for name, module in modules.items():
            before_us = own[name]
            if before_us is not None:
                module.forward = before_us
            elif "forward" in vars(module):
                del module.forward
