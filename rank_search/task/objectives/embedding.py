"""What the dense network puts out, without any label."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import cosine_similarity

from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import Objective, Totals, predictions


class Embedding(Objective):
    """One minus the cosine of every sample's output to the dense network's; outputs ``[N, ...]`` are taken as vectors.

    No target is needed: batches carry the dense network's outputs, which count as forward samples.
    """

    measure: ClassVar[str] = "cosine"
    percent: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False
    by_dense: ClassVar[bool] = True

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        return (1 - self._cosines(outputs, batch.targets)).mean()

    def totals(self, outputs: Any, batch: Batch) -> Totals:
        cosines = self._cosines(outputs, batch.targets)
        return {"cosine": float(cosines.double().sum()), "samples": len(cosines)}

    def measures(self, totals: Totals) -> dict[str, float]:
        cosine = float(totals["cosine"]) / float(totals["samples"])
        return {"loss": 1 - cosine, "cosine": cosine}

    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        return (1 - self._cosines(outputs, dense_outputs)).mean()

    def _cosines(self, outputs: Any, dense_outputs: Any) -> Tensor:
        found, wanted = self.predictions(outputs), predictions(dense_outputs)
        if found.shape != wanted.shape or found.ndim < 2:
            raise self.misfit(found, wanted, "equal shapes [N, ...]: the targets are the dense network's outputs")
        found, wanted = found.flatten(1), wanted.flatten(1)
        both_zero = (found == 0).all(1) & (wanted == 0).all(1)
        return cosine_similarity(found, wanted, dim=1).masked_fill(both_zero, 1.0)
