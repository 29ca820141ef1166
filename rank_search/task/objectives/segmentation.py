"""One class for every pixel."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rank_search.errors import InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import Objective, Totals, is_whole
from rank_search.task.objectives.softened import softened_divergence


class Segmentation(Objective):
    """Cross-entropy of every pixel and the mean IoU; outputs are logits ``[N, C, *pixels]``, targets ``[N, *pixels]``.

    The IoU of a class is ``TP / (TP + FP + FN)`` over all pixels of the set; the mean is over the classes that occur in
    the targets or the predictions.

    Args:
        ignore: the label of pixels that do not count.
    """

    measure: ClassVar[str] = "iou"

    def __init__(self, ignore: int = 255) -> None:
        if isinstance(ignore, bool) or not isinstance(ignore, int):
            raise InvalidInputError(f"ignore={ignore!r} is not allowed: it is a whole number")
        self._ignore = ignore

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        logits, labels = self._pair(outputs, batch)
        if bool((labels == self._ignore).all()):
            return logits.sum() * 0.0  # no pixel counts
        return cross_entropy(logits, labels, ignore_index=self._ignore)

    def totals(self, outputs: Any, batch: Batch) -> Totals:
        logits, labels = self._pair(outputs, batch)
        classes, predicted, counted = logits.shape[1], logits.argmax(1), labels != self._ignore
        pairs = labels[counted] * classes + predicted[counted]
        loss = cross_entropy(logits.double(), labels, ignore_index=self._ignore, reduction="sum")
        confusion = torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        return {"loss": float(loss), "confusion": confusion.double().cpu()}

    def measures(self, totals: Totals) -> dict[str, float]:
        confusion = torch.as_tensor(totals["confusion"])
        hits, either = confusion.diagonal(), confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
        pixels = max(1.0, float(confusion.sum()))
        iou = float((hits / either)[either > 0].mean()) if (either > 0).any() else 1.0
        return {"loss": float(totals["loss"]) / pixels, "iou": iou, "accuracy": float(hits.sum()) / pixels}

    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        found, wanted = (self.predictions(given).movedim(1, -1).flatten(0, -2) for given in (outputs, dense_outputs))
        return softened_divergence(found, wanted, temperature)

    def _pair(self, outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, labels = self.predictions(outputs), self.targets(batch)
        fits = logits.ndim >= 3 and labels.shape == (len(logits), *logits.shape[2:])
        if not fits or not is_whole(labels):
            raise self.misfit(logits, labels, "logits [N, classes, *pixels] and int64 labels [N, *pixels]")
        labels = labels.long()
        self.check_classes(logits, labels, self._ignore)
        return logits, labels
