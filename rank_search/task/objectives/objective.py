"""The contract of an objective. Plug-in group: ``rank_search.objectives``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from rank_search.errors import DataError, InvalidInputError
from rank_search.nests import described
from rank_search.task.batch import Batch

Totals = Mapping[str, Tensor | float]
"""Sums over samples: those of two batches add up to those of both."""
FIRST_NAMES = ("logits", "out", "last_hidden_state")
"""Where a mapping or a dataclass-like output holds what the network says, in this order."""


class Objective(ABC):
    """What a network is trained for and judged by.

    Attributes:
        measure: the measure that is reported; methods minimise ``loss``.
        higher: whether more of it is better.
        percent: whether it is a fraction that people read in percent.
        needs_targets: whether batches must have targets.
        by_dense: whether the dense network's outputs are the targets; batches then carry them in place of their own.
    """

    measure: ClassVar[str]
    higher: ClassVar[bool] = True
    percent: ClassVar[bool] = True
    needs_targets: ClassVar[bool] = True
    by_dense: ClassVar[bool] = False

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The mean loss of a batch, a number with gradients.

        Args:
            outputs: what the network returned: a tensor, or what :meth:`predictions` finds one in.
            batch: on the same device.

        Raises:
            InvalidInputError: if outputs and targets do not fit together; says both shapes.
            DataError: if a target is needed and there is none.
        """

    @abstractmethod
    def totals(self, outputs: Any, batch: Batch) -> Totals:
        """Sums over the samples of a batch, from which :meth:`measures` of a whole set follow exactly.

        Raises:
            InvalidInputError, DataError: as :meth:`loss`.
        """

    @abstractmethod
    def measures(self, totals: Totals) -> dict[str, float]:
        """The measures of a set, ``loss`` and the reported one among them, from the totals of all its batches."""

    @abstractmethod
    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        """How far outputs are from the dense network's, a mean over the batch with gradients; 0 where they are equal.

        Args:
            outputs, dense_outputs: of the same inputs.
            temperature: softens probabilities, where there are any.
        """

    def predictions(self, outputs: Any) -> Tensor:
        """The one tensor of the outputs that counts.

        A tensor itself; of a mapping or a dataclass-like output its ``logits``, ``out`` or ``last_hidden_state``; the
        first entry of a tuple.

        Raises:
            InvalidInputError: if there is none.
        """
        return predictions(outputs)

    def targets(self, batch: Batch) -> Tensor:
        """The batch's targets as one tensor.

        Raises:
            DataError: if there are none, or they are no tensor.
        """
        if batch.targets is None:
            raise DataError(f"the objective {type(self).__name__} needs targets, and this data has none")
        if not isinstance(batch.targets, Tensor):
            raise DataError(
                f"the objective {type(self).__name__} takes one tensor of targets, not {described(batch.targets)}"
            )
        return batch.targets

    def misfit(self, found: Tensor, targets: Tensor, expected: str) -> InvalidInputError:
        """The error of outputs and targets that do not fit together."""
        return InvalidInputError(
            f"the objective {type(self).__name__} does not fit: the network's outputs are {list(found.shape)} "
            f"({_dtype(found)}) and the targets {list(targets.shape)} ({_dtype(targets)}); expected {expected}"
        )

    def check_classes(self, logits: Tensor, labels: Tensor, ignored: int | None = None) -> None:
        """Compares whole-number targets with the classes ``C`` of logits ``[N, C, ...]``.

        Raises:
            InvalidInputError: if one is outside of 0 .. C - 1 and not the ignored one.
        """
        wrong = (labels < 0) | (labels >= logits.shape[1])
        if ignored is not None:
            wrong &= labels != ignored
        if bool(wrong.any()):
            raise InvalidInputError(
                f"the objective {type(self).__name__} does not fit: a target is {int(labels[wrong][0])}, and the "
                f"network's outputs {list(logits.shape)} stand for the classes 0 to {logits.shape[1] - 1}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def predictions(outputs: Any) -> Tensor:
    """See :meth:`Objective.predictions`."""
    if isinstance(outputs, Tensor):
        return outputs
    for name in FIRST_NAMES:
        found = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(outputs, tuple | list) and outputs and not isinstance(outputs[0], str):
        return predictions(outputs[0])
    if isinstance(outputs, Mapping) and len(outputs) == 1:
        return predictions(next(iter(outputs.values())))
    names = f" with the keys {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
    raise InvalidInputError(
        f"the network returned a {type(outputs).__name__}{names}; objectives understand a tensor, a tuple whose first "
        f"entry is one, and {', '.join(FIRST_NAMES)} of a mapping or object"
    )


def added(parts: list[Totals]) -> dict[str, Any]:
    """The totals of a set from those of its batches."""
    return {name: sum(part[name] for part in parts[1:]) + parts[0][name] for name in parts[0]}


def is_whole(tensor: Tensor) -> bool:
    """Whether it holds whole numbers."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
