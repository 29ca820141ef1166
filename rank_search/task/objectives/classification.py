"""One class for every sample."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import Objective, Totals, is_whole
from rank_search.task.objectives.softened import softened_divergence


class Classification(Objective):
    """Cross-entropy in nats and accuracy; outputs are logits ``[N, C]``, targets whole numbers ``[N]``."""

    measure: ClassVar[str] = "accuracy"

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        return cross_entropy(*self._pair(outputs, batch))

    def totals(self, outputs: Any, batch: Batch) -> Totals:
        logits, labels = self._pair(outputs, batch)
        return {
            "loss": float(cross_entropy(logits.double(), labels, reduction="sum")),
            "right": int((logits.argmax(1) == labels).sum()),
            "samples": len(labels),
        }

    def measures(self, totals: Totals) -> dict[str, float]:
        count = float(totals["samples"])
        return {"loss": float(totals["loss"]) / count, "accuracy": float(totals["right"]) / count}

    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        return softened_divergence(self.predictions(outputs), self.predictions(dense_outputs), temperature)

    def _pair(self, outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, labels = self.predictions(outputs), self.targets(batch)
        if logits.ndim != 2 or labels.ndim != 1 or len(logits) != len(labels) or not is_whole(labels):
            raise self.misfit(logits, labels, "logits [N, classes] and int64 labels [N]")
        labels = labels.long()
        self.check_classes(logits, labels)
        return logits, labels
