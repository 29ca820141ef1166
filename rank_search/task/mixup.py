"""Training on sums of two samples: inputs between those that there are, for a dense network to answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rank_search.errors import InvalidInputError
from rank_search.nests import Nest, leaves, mapped
from rank_search.task.batch import Batch


class Mixed(NamedTuple):
    """A batch of sums.

    Args:
        batch: its inputs are ``share x_i + (1 - share) x_j``, its targets those of the ``x_i``.
        others: the targets of the ``x_j``; None where there are none.
        share: of the first.
    """

    batch: Batch
    others: Batch | None
    share: float


def mixed(batch: Batch, alpha: float, generator: torch.Generator) -> Mixed:
    """Every sample of a batch with another one of it added (mixup, arXiv 1710.09412; for distillation: 2106.05237).

    Args:
        batch: of floating point.
        alpha: the share is drawn from Beta(alpha, alpha), one for the batch; 0 mixes nothing.
        generator: draws it, and the order of the second samples.

    Raises:
        InvalidInputError: for inputs that have no sums.
    """
    check_mixable(batch.inputs, alpha)
    if not alpha or batch.samples < 2:
        return Mixed(batch, None, 1.0)
    seed = int(torch.randint(2**62, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    order = torch.randperm(batch.samples, generator=generator)

    def other(tensor: Tensor) -> Tensor:
        return tensor[order.to(tensor.device)]

    inputs = mapped(batch.inputs, lambda tensor: share * tensor + (1 - share) * other(tensor))
    others = None if batch.targets is None else Batch(inputs, mapped(batch.targets, other))
    return Mixed(Batch(inputs, batch.targets), others, share)


def check_mixable(inputs: Nest, alpha: float) -> None:
    """Checks that inputs have sums, if any are wanted.

    Raises:
        InvalidInputError: for tokens and other whole numbers.
    """
    whole = next((tensor.dtype for tensor in leaves(inputs) if not tensor.is_floating_point()), None)
    if alpha and whole is not None:
        raise InvalidInputError(
            f"mixup={alpha} sums inputs, and {str(whole).removeprefix('torch.')} inputs have no sums: set mixup to 0"
        )
