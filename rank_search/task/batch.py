"""What a network is given at once, and what its outputs are compared with."""

from __future__ import annotations

from typing import NamedTuple

import torch

from rank_search.nests import Nest, leaves, moved


class Batch(NamedTuple):
    """Inputs and targets: two nests of tensors with a common first dimension.

    Args:
        inputs: as the network is called with (:func:`rank_search.nests.call`).
        targets: as the objective understands them; None where there are none.
    """

    inputs: Nest
    targets: Nest

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(moved(self.inputs, device), None if self.targets is None else moved(self.targets, device))

    @property
    def samples(self) -> int:
        """How many samples it holds."""
        return len(leaves(self.inputs)[0])
