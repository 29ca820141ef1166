"""Judging a network: loss and accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from rank_search.errors import EvaluationError
from rank_search.running import device_of
from rank_search.task.data.image_data import Data, ImageSet

BATCH = 250  # larger batches are no faster on a CPU


@dataclass(frozen=True)
class Evaluation:
    """Args:
    loss: mean cross-entropy in nats.
    accuracy: fraction of images whose largest logit is the label's, 0 to 1.
    images: how many images were judged.
    """

    loss: float
    accuracy: float
    images: int


def validate(model: nn.Module, data: Data, images: ImageSet) -> Evaluation:
    """Loss and accuracy of a network in eval mode.

    Raises:
        EvaluationError: if the network fails, or its outputs are not finite.
    """
    device = device_of(model)
    model.eval()
    loss, right = 0.0, 0
    try:
        with torch.inference_mode():
            for inputs, labels in data.batches(images, BATCH):
                logits, labels = model(inputs.to(device)), labels.to(device)
                loss += float(cross_entropy(logits.double(), labels, reduction="sum"))
                right += int((logits.argmax(1) == labels).sum())
    except (RuntimeError, IndexError) as error:
        raise EvaluationError(f"the network cannot be validated: {type(error).__name__}: {_line(error)}") from error
    if not math.isfinite(loss):
        raise EvaluationError(f"the validation loss is {loss}: the network's outputs are not finite")
    return Evaluation(loss / len(images), right / len(images), len(images))


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else ""
