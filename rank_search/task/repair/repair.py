"""The stage between the cut and the fine-tune: which correction, on which inputs, and what it is charged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from torch import nn

from rank_search.errors import InvalidInputError
from rank_search.nests import Nest
from rank_search.plugins import nearest
from rank_search.space import DENSE, RankPlan
from rank_search.task.data.data import Data
from rank_search.task.repair.mender import Mended
from rank_search.task.repair.recalibration import has_running_statistics, recalibrate
from rank_search.task.repair.refit import batch_size, passes, refit
from rank_search.task.repair.steps import Step, steps_of

REPAIRS = ("none", "recalibrate", "refit")
RECALIBRATION_BATCH = 128  # the inputs of all batch norms of the dense network are held for one batch


class Repair:
    """A correction of compressed networks on fixed training inputs, without targets, the same for every seed.

    Args:
        kind: ``none``, ``recalibrate`` (batch norm: :func:`recalibrate`) or ``refit`` (factors, too: :func:`refit`).
        inputs: how many; fewer where there are fewer. 0 is ``none``.
        model: the dense network.
        data: where the inputs are from; None is ``none``.
        option: the names under which the kind and the number were given, for messages.

    Raises:
        InvalidInputError: for another kind, or a number below 0.
    """

    def __init__(
        self,
        kind: str,
        inputs: int,
        model: nn.Module,
        data: Data | None,
        option: tuple[str, str] = ("repair", "inputs"),
    ) -> None:
        if kind not in REPAIRS:
            raise InvalidInputError(
                f"{option[0]}={kind!r} is not allowed{nearest(str(kind), REPAIRS)}: it must be one of "
                f"{', '.join(REPAIRS)}"
            )
        if isinstance(inputs, bool) or not isinstance(inputs, int) or inputs < 0:
            raise InvalidInputError(f"{option[1]}={inputs!r} is not allowed: it must be at least 0")
        self.kind, self._inputs, self._model, self._data = kind, inputs, model, data
        self.has_norms = has_running_statistics(model)

    def of_kind(self, kind: str) -> Repair:
        """Another correction on the same inputs."""
        return Repair(kind, self._inputs, self._model, self._data)

    def changes(self, plan: RankPlan) -> bool:
        """Whether the plan's network is changed at all."""
        if self._data is None or not self._inputs or self.kind == "none":
            return False
        return (self.kind == "refit" or self.has_norms) and bool(_replaced(plan))

    def cost(self, plan: RankPlan) -> int:
        """Forward samples: those run through the compressed network and those through the dense one."""
        if not self.changes(plan):
            return 0
        samples = 2 * len(self._subset)
        return (
            samples if self.kind == "recalibrate" else samples * passes(self._steps, _replaced(plan), len(self._subset))
        )

    def apply(self, compressed: nn.Module, plan: RankPlan, dense: nn.Module | None = None) -> dict[str, Mended]:
        """Corrects the plan's network in place; it ends in evaluation mode.

        Args:
            compressed: as it was cut.
            plan: by which.
            dense: the network to correct towards; None is the task's.

        Returns:
            What became of each layer, if it was refitted.

        Raises:
            EvaluationError: if a network cannot run the inputs.
        """
        found: dict[str, Mended] = {}
        if self.changes(plan):
            towards = self._model if dense is None else dense
            if self.kind == "recalibrate":
                recalibrate(compressed, towards, self._batches(RECALIBRATION_BATCH))
            else:
                size = batch_size(self._steps, _replaced(plan), len(self._subset))
                found = refit(compressed, towards, self._steps, lambda: self._batches(size), len(self._subset))
        compressed.eval()
        return found

    def _batches(self, size: int) -> Iterator[Nest]:
        assert self._data is not None
        return (batch.inputs for batch in self._data.batches(self._subset, size))

    @cached_property
    def _subset(self) -> Any:
        assert self._data is not None
        return self._data.train.subset(self._inputs, seed=0)

    @cached_property
    def _steps(self) -> list[Step]:
        assert self._data is not None
        return steps_of(self._model, self._data.example())


def _replaced(plan: RankPlan) -> set[str]:
    return {name for name, choice in plan.items() if choice != DENSE}
