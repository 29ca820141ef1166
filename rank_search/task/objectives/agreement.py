"""The class that the dense network names, without any label."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from rank_search.errors import InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import Objective, Totals, predictions
from rank_search.task.objectives.softened import softened_divergence


class Agreement(Objective):
    """``KL(dense || network)`` of the softmax in nats, and how often both name one class; outputs ``[N, C, ...]``.

    No target is needed: batches carry the dense network's outputs, which count as forward samples. Of outputs with
    places (``[N, C, H, W]``) every place counts as a sample.
    """

    measure: ClassVar[str] = "agreement"
    needs_targets: ClassVar[bool] = False
    by_dense: ClassVar[bool] = True

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        return self.distance(outputs, batch.targets)

    def totals(self, outputs: Any, batch: Batch) -> Totals:
        found, wanted = (_flat(one).double() for one in self._pair(outputs, batch.targets))
        target = log_softmax(wanted, 1)
        divergence = (target.exp() * (target - log_softmax(found, 1))).sum()
        alike = (found.argmax(1) == wanted.argmax(1)).sum()
        return {"loss": float(divergence), "alike": int(alike), "samples": len(found)}

    def measures(self, totals: Totals) -> dict[str, float]:
        count = float(totals["samples"])
        return {"loss": float(totals["loss"]) / count, "agreement": float(totals["alike"]) / count}

    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        found, wanted = map(_flat, self._pair(outputs, dense_outputs))
        return softened_divergence(found, wanted, temperature)

    def _pair(self, outputs: Any, dense_outputs: Any) -> tuple[Tensor, Tensor]:
        found, wanted = self.predictions(outputs), predictions(dense_outputs)
        if found.shape != wanted.shape or found.ndim < 2 or found.shape[1] < 2:
            raise InvalidInputError(
                f"{type(self).__name__} does not fit: it expects outputs of at least two classes [N, C, ...] like the "
                f"dense network's {list(wanted.shape)}, the network's are {list(found.shape)}; objective='embedding' "
                "compares vectors of any kind"
            )
        return found, wanted


def _flat(logits: Tensor) -> Tensor:
    """``[N * places, C]``."""
    return torch.movedim(logits, 1, -1).reshape(-1, logits.shape[1])
