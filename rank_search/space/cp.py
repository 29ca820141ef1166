"""CP of a convolution: 1x1, depthwise kh x kw, 1x1 (docs/methods.md)."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import tensorly as tl
import torch
from numpy.typing import NDArray
from tensorly.decomposition import parafac
from torch import Tensor, nn

from rank_search.errors import EvaluationError
from rank_search.space.decomposition import Analysis, Decomposition, FloatArray, IntArray, bias_of
from rank_search.space.layer import Layer
from rank_search.space.low_rank import LowRank, bare_conv
from rank_search.space.plan import Choice

RANKS_PER_LAYER = 14
ALS_ITERATIONS = 60
ALS_TOLERANCE = 1e-7


class CP(Decomposition):
    """Canonical polyadic decomposition of ``[Co, Ci, kh kw]``, one rank R, fitted by alternating least squares.

    CP has no nested optimum, so every rank of a geometric grid is fitted on its own (tensorly ``parafac``, SVD start)
    and its error is measured, not predicted. A fit that is not finite, or worse than the zero tensor, counts as
    error inf. Components leave ALS with unequal norms and are balanced: each factor of a component gets the cube root
    of their product, without which SGD fails (docs/methods.md).
    (As convolutions: Lebedev et al., ICLR 2015; the grid and the guards are ours.)
    """

    name: ClassVar[str] = "cp"
    modes: ClassVar[tuple[str, ...]] = ("rank",)

    def why_not(self, layer: Layer) -> str | None:
        if layer.kind != "conv2d":
            return "cp is for convolutions"
        if layer.groups != 1:
            return f"cp needs groups = 1, this layer has {layer.groups}"
        if layer.taps == 1:
            return "the CP of a 1x1 convolution is its SVD: use the form svd"
        return None

    def largest_ranks(self, layer: Layer) -> tuple[int, ...]:
        """Every tensor has an exact CP at the product of its two smaller dimensions."""
        smallest = sorted((layer.out_channels, layer.in_channels, layer.taps))
        return (smallest[0] * smallest[1],)

    def candidates(self, layer: Layer) -> IntArray:
        """A geometric grid up to the last rank with fewer parameters than the dense layer."""
        per_component = layer.out_channels + layer.in_channels + layer.taps
        top = min((layer.dense_params - 1) // per_component, self.largest_ranks(layer)[0])
        if top < 1:
            return np.empty((0, 1), dtype=np.int64)
        return np.unique(np.rint(np.geomspace(1, top, RANKS_PER_LAYER)).astype(np.int64))[:, None]

    def feasible(self, layer: Layer, ranks: IntArray) -> NDArray[np.bool_]:
        return (ranks[:, 0] >= 1) & (ranks[:, 0] <= self.largest_ranks(layer)[0])

    def params(self, layer: Layer, ranks: IntArray) -> IntArray:
        return ranks[:, 0] * (layer.in_channels + layer.taps + layer.out_channels)

    def macs(self, layer: Layer, ranks: IntArray) -> IntArray:
        per_component = layer.in_positions * layer.in_channels
        per_component += layer.out_positions * (layer.taps + layer.out_channels)
        return ranks[:, 0] * per_component

    def analyse(self, layer: Layer, weight: Tensor, ranks: IntArray) -> Analysis:
        kernel = weight.flatten(2)
        analysis: Analysis = {}
        for (rank,) in ranks.tolist():
            out, into, taps, error = fit(kernel, rank)
            analysis |= {f"{rank}.out": out, f"{rank}.in": into, f"{rank}.taps": taps, f"{rank}.error": error}
        return analysis

    def errors(self, layer: Layer, analysis: Analysis, ranks: IntArray) -> FloatArray:
        return np.array([analysis[f"{rank}.error"].item() for (rank,) in ranks.tolist()], dtype=np.float64)

    def factors(self, layer: Layer, analysis: Analysis, ranks: tuple[int, ...]) -> tuple[Tensor, ...]:
        (rank,) = ranks
        if not torch.isfinite(analysis[f"{rank}.error"]):
            raise EvaluationError(f"layer {layer.name!r}: no finite CP of rank {rank} was found")
        taps = analysis[f"{rank}.taps"].T.reshape(rank, 1, *layer.kernel)
        return analysis[f"{rank}.in"].T, taps, analysis[f"{rank}.out"]

    def skeleton(self, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        assert isinstance(module, nn.Conv2d)
        (rank,) = ranks
        first = bare_conv(module.in_channels, rank, 1, bias=False)
        depthwise = bare_conv(
            rank,
            rank,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            groups=rank,
            bias=False,
            padding_mode=module.padding_mode,
        )
        last = bare_conv(rank, module.out_channels, 1, bias=bias_of(module))
        return LowRank(Choice(self.name, ranks), [first, depthwise, last])


def fit(kernel: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Balanced CP factors ``[Co, R], [Ci, R], [kh kw, R]`` of ``[Co, Ci, kh kw]`` and the squared error (or inf)."""
    target = kernel.numpy()
    with tl.backend_context("numpy", local_threadsafe=True), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            weights, found = parafac(
                target, rank, n_iter_max=ALS_ITERATIONS, init="svd", tol=ALS_TOLERANCE, random_state=0
            )
        except np.linalg.LinAlgError:  # a singular normal matrix: no fit at this rank
            weights, found = np.full(rank, np.nan), [np.zeros((size, rank)) for size in target.shape]
    factors = [torch.from_numpy(np.ascontiguousarray(factor, dtype=np.float64)) for factor in found]
    factors[0] = factors[0] * torch.from_numpy(np.asarray(weights, dtype=np.float64))
    norms = torch.stack([factor.norm(dim=0) for factor in factors])
    size = norms.prod(0) ** (1 / 3)
    out, into, taps = (factor * (size / norm.clamp_min(1e-300)) for factor, norm in zip(factors, norms, strict=True))
    error = (kernel - torch.einsum("or,ir,kr->oik", out, into, taps)).square().sum()
    if not torch.isfinite(error) or error >= kernel.square().sum():
        error = torch.tensor(float("inf"), dtype=torch.float64)
        out, into, taps = (torch.zeros_like(factor) for factor in (out, into, taps))
    return out, into, taps, error
