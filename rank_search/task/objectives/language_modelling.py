"""The next token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from rank_search.errors import InvalidInputError
from rank_search.nests import described, leaves
from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import Objective, Totals, is_whole
from rank_search.task.objectives.softened import softened_divergence

IGNORED = -100
"""The target of positions that do not count, as in ``torch.nn.CrossEntropyLoss``."""


LARGEST = 700.0  # exp of more is no float


class LanguageModelling(Objective):
    """Cross-entropy per token in nats; outputs are logits ``[N, T, V]``.

    Targets int64 ``[N, T]`` say the token that each position predicts, -100 where none counts. Without targets it is
    the next token of the inputs (``input_ids`` of a mapping, else the first tensor); positions whose next token has an
    ``attention_mask`` of 0 do not count. Reported is the perplexity, ``exp(loss)``.
    """

    measure: ClassVar[str] = "perplexity"
    higher: ClassVar[bool] = False
    percent: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        logits, tokens = self._pair(outputs, batch)
        if bool((tokens == IGNORED).all()):
            return logits.sum() * 0.0  # no token counts
        return cross_entropy(logits, tokens, ignore_index=IGNORED)

    def totals(self, outputs: Any, batch: Batch) -> Totals:
        logits, tokens = self._pair(outputs, batch)
        return {
            "loss": float(cross_entropy(logits.double(), tokens, ignore_index=IGNORED, reduction="sum")),
            "right": int((logits.argmax(1) == tokens).sum()),
            "tokens": int((tokens != IGNORED).sum()),
        }

    def measures(self, totals: Totals) -> dict[str, float]:
        count = max(1.0, float(totals["tokens"]))
        loss = float(totals["loss"]) / count
        return {"loss": loss, "perplexity": math.exp(min(loss, LARGEST)), "accuracy": float(totals["right"]) / count}

    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        found, wanted = (self.predictions(given).flatten(0, -2) for given in (outputs, dense_outputs))
        return softened_divergence(found, wanted, temperature)

    def _pair(self, outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits ``[tokens, V]`` and the tokens that they predict."""
        logits = self.predictions(outputs)
        tokens = self.targets(batch) if batch.targets is not None else _next_tokens(batch)
        if logits.ndim != 3 or logits.shape[:2] != tokens.shape or not is_whole(tokens):
            raise self.misfit(logits, tokens, "logits [N, T, vocabulary] and int64 tokens [N, T]")
        logits, tokens = logits.flatten(0, 1), tokens.long().flatten()
        self.check_classes(logits, tokens, IGNORED)
        return logits, tokens


def _next_tokens(batch: Batch) -> Tensor:
    inputs = batch.inputs
    named = isinstance(inputs, Mapping) and isinstance(inputs.get("input_ids"), Tensor)
    tokens: Tensor = inputs["input_ids"] if named else leaves(inputs)[0]
    if tokens.ndim != 2 or not is_whole(tokens):
        raise InvalidInputError(
            f"without targets the inputs are the tokens, int64 [N, T]; these are {described(inputs)}: give targets"
        )
    following = tokens.long().roll(-1, 1)
    following[:, -1] = IGNORED
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    if isinstance(mask, Tensor) and mask.shape == tokens.shape:
        following[:, :-1][mask[:, 1:] == 0] = IGNORED
    return following
