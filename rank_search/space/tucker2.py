"""Tucker-2 of a convolution: 1x1, kh x kw, 1x1 (docs/methods.md)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rank_search.space.decomposition import Analysis, Decomposition, FloatArray, IntArray, bias_of
from rank_search.space.layer import Layer
from rank_search.space.low_rank import LowRank, bare_conv
from rank_search.space.plan import Choice
from rank_search.space.spectra import left_basis


class Tucker2(Decomposition):
    """Truncated HOSVD of the two channel modes, ranks (R1 out, R2 in).

    With the full core ``S = W x1 U1^T x2 U2^T`` and ``c[a, b] = ||S[a, b]||^2`` the error of EVERY pair is
    ``||W||^2 - sum_{a < R1, b < R2} c[a, b]``, exactly; all factors are slices of U1, U2 and S.
    (HOSVD: De Lathauwer et al., SIAM J. Matrix Anal. 2000. As convolutions: Kim et al., ICLR 2016.)
    """

    name: ClassVar[str] = "tucker2"
    modes: ClassVar[tuple[str, ...]] = ("out", "in")

    def why_not(self, layer: Layer) -> str | None:
        if layer.kind != "conv2d":
            return "tucker2 is for convolutions"
        if layer.groups != 1:
            return f"tucker2 needs groups = 1, this layer has {layer.groups}"
        if layer.taps == 1:
            return "the Tucker-2 of a 1x1 convolution is its SVD: use the form svd"
        return None

    def largest_ranks(self, layer: Layer) -> tuple[int, ...]:
        taps, out, into = layer.taps, layer.out_channels, layer.in_channels
        return min(out, into * taps), min(into, out * taps)

    def candidates(self, layer: Layer) -> IntArray:
        out, into = self.largest_ranks(layer)
        grid = np.indices((out, into), dtype=np.int64).reshape(2, -1).T + 1
        return grid[self.feasible(layer, grid)]

    def feasible(self, layer: Layer, ranks: IntArray) -> NDArray[np.bool_]:
        first, second = ranks.T
        out, into = self.largest_ranks(layer)
        inside = (first >= 1) & (second >= 1) & (first <= out) & (second <= into)
        return inside & (first <= second * layer.taps) & (second <= first * layer.taps)  # type: ignore[no-any-return]

    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        out, into = ranks.T
        return layer.in_channels * into + out * into * layer.taps + out * layer.out_channels  # type: ignore[no-any-return]

    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        out, into = ranks.T
        inner = out * into * layer.taps + out * layer.out_channels
        return layer.in_positions * layer.in_channels * into + layer.out_positions * inner  # type: ignore[no-any-return]

    def analyse(self, layer: Layer, weight: Tensor, ranks: IntArray) -> Analysis:
        kernel = weight.flatten(2)
        out = _mode_basis(kernel.flatten(1))
        into = _mode_basis(kernel.transpose(0, 1).flatten(1))
        core = torch.tensordot(out.T, torch.tensordot(into.T, kernel, ([1], [1])), ([1], [1]))
        return {"out": out, "in": into, "core": core.contiguous()}

    def errors(self, layer: Layer, analysis: Analysis, ranks: IntArray) -> FloatArray:
        energy = analysis["core"].square().sum(2).numpy()
        kept = np.zeros((energy.shape[0] + 1, energy.shape[1] + 1))
        kept[1:, 1:] = energy.cumsum(0).cumsum(1)
        return np.maximum(kept[-1, -1] - kept[ranks[:, 0], ranks[:, 1]], 0.0)  # type: ignore[no-any-return]

    def factors(self, layer: Layer, analysis: Analysis, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        out, into = ranks
        core = analysis["core"][:out, :into].reshape(out, into, *layer.kernel)
        return analysis["in"][:, :into].T, core, analysis["out"][:, :out]

    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        assert isinstance(module, nn.Conv2d)
        out, into = ranks
        first = bare_conv(module.in_channels, into, 1, bias=False)
        core = bare_conv(
            into,
            out,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            bias=False,
            padding_mode=module.padding_mode,
        )
        last = bare_conv(out, module.out_channels, 1, bias=bias_of(module))
        return LowRank(Choice(self.name, ranks), [first, core, last])


def _mode_basis(unfolding: Tensor) -> Tensor:
    """Left basis ``[m, min(m, n)]`` of a mode's unfolding ``[m, n]``; completed by the SVD when it is tall."""
    if unfolding.shape[0] <= unfolding.shape[1]:
        return left_basis(unfolding)[0]
    basis: Tensor = torch.linalg.svd(unfolding, full_matrices=False)[0]
    return basis
