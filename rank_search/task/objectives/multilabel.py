"""Any number of labels for every sample."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import Objective, Totals


class Multilabel(Objective):
    """Binary cross-entropy of every label, and F1 over all of them; outputs are logits and targets 0 or 1, ``[N, C]``.

    A label is predicted where its logit is above 0. F1 is ``2 TP / (2 TP + FP + FN)`` over all samples and labels;
    ``exact`` is the fraction of samples whose labels are all right.
    """

    measure: ClassVar[str] = "f1"

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        return binary_cross_entropy_with_logits(*self._pair(outputs, batch))

    def totals(self, outputs: Any, batch: Batch) -> Totals:
        logits, wanted = self._pair(outputs, batch)
        predicted, true = logits > 0, wanted > 0.5
        return {
            "loss": float(binary_cross_entropy_with_logits(logits.double(), wanted.double(), reduction="sum")),
            "hits": int((predicted & true).sum()),
            "predicted": int(predicted.sum()),
            "true": int(true.sum()),
            "exact": int((predicted == true).all(1).sum()),
            "samples": len(logits),
            "labels": logits.numel(),
        }

    def measures(self, totals: Totals) -> dict[str, float]:
        named = float(totals["predicted"]) + float(totals["true"])
        return {
            "loss": float(totals["loss"]) / float(totals["labels"]),
            "f1": 2 * float(totals["hits"]) / named if named else 1.0,
            "exact": float(totals["exact"]) / float(totals["samples"]),
        }

    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        """``t^2 KL(dense || network)`` of every label at temperature t, the mean over labels."""
        found, wanted = (self.predictions(given) / temperature for given in (outputs, dense_outputs))
        p = wanted.sigmoid()
        divergence = p * (logsigmoid(wanted) - logsigmoid(found))
        divergence = divergence + (1 - p) * (logsigmoid(-wanted) - logsigmoid(-found))
        return divergence.mean() * temperature**2

    def _pair(self, outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, wanted = self.predictions(outputs), self.targets(batch)
        if logits.ndim != 2 or logits.shape != wanted.shape:
            raise self.misfit(logits, wanted, "logits and labels 0 or 1 of one shape [N, labels]")
        return logits, wanted.to(logits.dtype)
