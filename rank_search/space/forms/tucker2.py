"""Tucker-2 of a convolution: 1x1, kh x kw, 1x1 (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.space.forms import spectra
from rank_search.space.forms.channel_core import ChannelCore
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight


class Tucker2(ChannelCore):
    """Truncated HOSVD of the two channel modes, ranks (R1 out, R2 in).

    With the full core ``S = W x1 U1^T x2 U2^T`` and ``c[a, b] = ||S[a, b]||^2`` the error of EVERY pair is
    ``||W||^2 - sum_{a < R1, b < R2} c[a, b]``, exactly; all factors are slices of U1, U2 and S.
    (HOSVD: De Lathauwer et al., SIAM J. Matrix Anal. 2000. As convolutions: Kim et al., ICLR 2016.)
    """

    name: ClassVar[str] = "tucker2"
    modes: ClassVar[tuple[str, ...]] = ("out", "in")
    nested: ClassVar[tuple[str, ...]] = ("out", "in")

    def candidates(self, layer: Layer) -> IntArray:
        grid = np.indices(self.largest_ranks(layer), dtype=np.int64).reshape(2, -1).T + 1
        return grid[self.feasible(layer, grid)]

    def errors(self, weight: LayerWeight, ranks: IntArray) -> FloatArray:
        energy = weight.part("tucker2.energy", lambda: {"energy": _energy(weight)})["energy"].numpy()
        kept = np.zeros((energy.shape[0] + 1, energy.shape[1] + 1))
        kept[1:, 1:] = energy.cumsum(0).cumsum(1)
        return np.maximum(kept[-1, -1] - kept[ranks[:, 0], ranks[:, 1]], 0.0)  # type: ignore[no-any-return]

    def factors(self, weight: LayerWeight, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        out, into = ranks
        bases = spectra.mode_basis(weight, "out"), spectra.mode_basis(weight, "in")
        first = bases[1][:, :, :into].transpose(1, 2).unsqueeze(3)
        core = weight.part("tucker2.core", lambda: {"core": _core(weight, *bases)}, on_disk=False)["core"]
        return weight.unwhiten(first), core[:, :out, :into], bases[0][:, :, :out].unsqueeze(3)


def _energy(weight: LayerWeight) -> Tensor:
    """``c[a, b]`` of the full core, summed over groups."""
    bases = [spectra.mode_basis(weight, mode, keep=False) for mode in ("out", "in")]
    return _core(weight, *bases).square_().sum((0, 3))


def _core(weight: LayerWeight, out: Tensor, into: Tensor) -> Tensor:
    """The full core ``[groups, R1, R2, taps]``."""
    groups, outs, ins, taps = weight.tensor.shape
    core = (out.transpose(1, 2) @ weight.tensor.reshape(groups, outs, ins * taps)).reshape(groups, -1, ins, taps)
    core = core.transpose(1, 2).reshape(groups, ins, -1)  # one large product instead of many small ones
    core = (into.transpose(1, 2) @ core).reshape(groups, into.shape[2], -1, taps)
    return core.transpose(1, 2).contiguous()
