"""What a replaced layer answers where its dense weight is read: shape, dtype and device, but no values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rank_search.errors import EvaluationError

NEW = ("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided")


class AbsentWeightError(EvaluationError):
    """A network computes with the weight of a layer that was decomposed."""


class AbsentWeight(Tensor):
    """A tensor without values: everything may be asked of it that does not need them.

    Args:
        shape: of the dense weight.
        like: a factor: its dtype, device and whether it is trained are answered.
        read: called when values are asked for, before the error is raised.
    """

    _read: Callable[[], None]

    @staticmethod
    def __new__(cls, shape: tuple[int, ...], like: Tensor, read: Callable[[], None]) -> AbsentWeight:
        made: AbsentWeight = Tensor._make_wrapper_subclass(
            cls, shape, dtype=like.dtype, device=like.device, requires_grad=like.requires_grad
        )
        made._read = read
        return made

    def asked(self) -> None:
        """Notes that its values were asked for."""
        self._read()

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return f"AbsentWeight({list(self.shape)}, {self.dtype}, of a decomposed layer)"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func.name().partition(".")[0].removeprefix("aten::")
        if name in NEW:
            like = torch.empty((), dtype=args[0].dtype, device=args[0].device)
            return func(like, *args[1:], **(kwargs or {}))
        for value in (*args, *(kwargs or {}).values()):
            if isinstance(value, cls):
                value.asked()
        raise AbsentWeightError(f"the network computes with the weight of a decomposed layer ({name})")
