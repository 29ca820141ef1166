"""Divergences between softened predictions (Hinton et al., 2015)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax


def softened_divergence(logits: Tensor, dense_logits: Tensor, temperature: float) -> Tensor:
    """``t^2 KL(dense || network)`` of the softmax over the last axis at temperature t, the mean over ``[N, C]``."""
    target = log_softmax(dense_logits / temperature, dim=1)
    student = log_softmax(logits / temperature, dim=1)
    return kl_div(student, target, reduction="batchmean", log_target=True) * temperature**2
