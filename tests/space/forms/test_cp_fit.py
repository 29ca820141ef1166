"""Fits of CP against tensorly's on a trained network's kernels, and as functions of their arguments alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorly as tl
import torch
from drawn_layers import DrawnLayer
from tensorly.decomposition import parafac
from torch import nn

from rank_search.arrays import FloatArray
from rank_search.recorded.load import network_of
from rank_search.recorded.recording import read_recording
from rank_search.space.forms.cp import CP
from rank_search.space.forms.cp_als import distance
from rank_search.space.forms.cp_fit import fit
from rank_search.space.forms.cp_starts import slices
from rank_search.space.layers.factor_cache import FactorCache
from rank_search.space.layers.layer_weight import LayerWeight

MARGIN, NOISE = 1.05, 1e-3  # times tensorly's error, and of the kernel's energy
LAYERS = [
    (nn.Conv2d(16, 24, 3, groups=2), (1, 16, 6, 6)),
    (nn.ConvTranspose2d(12, 16, 3, groups=2), (1, 12, 6, 6)),
    (nn.Conv1d(24, 16, 5), (1, 24, 9)),
    (nn.Conv3d(8, 10, (3, 2, 2)), (1, 8, 5, 5, 5)),
]


def kernels(recording: str) -> list[FloatArray]:
    """Of the trained convolutions of an installed recording, ``[Co, Ci, taps]``."""
    network = network_of(read_recording(recording))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.Conv2d) and m.in_channels > 1]
    return [module.weight.detach().double().flatten(2).numpy() for module in convolutions]


def of_tensorly(kernel: FloatArray, rank: int) -> float:
    """The squared error of its best-known recipe: SVD start, line search, 60 iterations."""
    with tl.backend_context("numpy"), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        weights, (out, into, taps) = parafac(
            kernel, rank, n_iter_max=60, init="svd", tol=1e-7, random_state=0, linesearch=True
        )
    return distance(kernel, [out * weights, into, taps])


@pytest.mark.parametrize("recording", ["digits", "mnist1d"])
def test_no_fit_of_a_trained_kernel_is_much_worse_than_tensorlys_and_on_the_whole_they_are_better(
    recording: str,
) -> None:
    ours, theirs = [], []
    for kernel in kernels(recording):
        energy, top = np.square(kernel).sum(), (kernel.size - 1) // sum(kernel.shape)
        for rank in np.unique(np.rint(np.geomspace(1, top, 7)).astype(int)).tolist():
            ours.append(fit(kernel, rank, 60)[1] / energy)
            theirs.append(of_tensorly(kernel, rank) / energy)
    assert len(ours) > 20
    assert (np.array(ours) <= MARGIN * np.array(theirs) + NOISE).all()
    assert sum(ours) <= 1.001 * sum(theirs)


@pytest.mark.parametrize("rank", [1, 6, 20])
def test_the_error_is_that_of_the_factors_and_the_bytes_depend_on_nothing_else(rank: int) -> None:
    kernel = np.random.default_rng(0).normal(size=(16, 12, 9))
    alone, error = fit(kernel, rank, 60)
    np.testing.assert_allclose(error, np.square(kernel - np.einsum("or,ir,kr->oik", *alone)).sum(), rtol=1e-12)
    for other in (3, 15, 40):
        fit(kernel, other, 60)
    again, _ = fit(kernel.copy(order="F"), rank, 60, slices(kernel, 60))
    assert [factor.tobytes() for factor in alone] == [factor.tobytes() for factor in again]


@pytest.mark.parametrize(("module", "shape"), LAYERS, ids=lambda value: type(value).__name__)
def test_whatever_is_asked_first_errors_estimates_and_factors_are_the_same_bytes(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    drawn, form = DrawnLayer.of(module, torch.randn(shape)), CP(ranks=16)
    ranks = form.candidates(drawn.layer)

    def numbers(reverse: bool, memory: int) -> list[bytes]:
        weight = LayerWeight(drawn.layer, module.weight, FactorCache(memory_bytes=memory))  # type: ignore[arg-type]
        found: list[bytes] = []
        if reverse:
            found = [_bytes(form.factors(weight, (int(rank),))) for rank in ranks[::-1, 0]][::-1]
        table = form.estimate(weight, ranks)
        errors = form.errors(weight, ranks[::-1])[::-1] if reverse else form.errors(weight, ranks)
        if not reverse:
            found = [_bytes(form.factors(weight, (int(rank),))) for rank in ranks[:, 0]]
        return [*found, table.errors.tobytes(), table.floors.tobytes(), errors.tobytes()]

    assert numbers(False, 2**27) == numbers(True, 2**27) == numbers(True, 1000)


def _bytes(factors: tuple[torch.Tensor, ...]) -> bytes:
    return b"".join(factor.contiguous().numpy().tobytes() for factor in factors)


def test_equal_groups_have_equal_factors_whatever_stands_beside_them() -> None:
    module = nn.Conv2d(24, 24, 3, groups=2)
    with torch.no_grad():
        module.weight[12:] = module.weight[:12]
    twin = nn.Conv2d(12, 12, 3)
    twin.weight = nn.Parameter(module.weight[:12].detach().clone())
    both, alone = (
        CP().factors(DrawnLayer.of(m, torch.randn(1, m.in_channels, 5, 5)).weight(), (9,)) for m in (module, twin)
    )
    assert torch.equal(both[0][0], alone[0][0])
    assert torch.equal(both[0][0], both[0][1])


@pytest.mark.parametrize("kind", ["zero", "identity", "constant", "rank one"])
def test_simple_kernels_of_any_width_are_exact(kind: str) -> None:
    size = 96
    rng = np.random.default_rng(3)
    kernel = np.zeros((size, size, 9))
    if kind == "identity":
        kernel[range(size), range(size), 4] = 1.0
    elif kind == "constant":
        kernel[:] = 0.3
    elif kind == "rank one":
        kernel = np.einsum("o,i,k->oik", *(rng.normal(size=n) for n in kernel.shape))
    energy = np.square(kernel).sum()
    for rank in (1, 30, 96, 200):
        left = max(0, size - rank) if kind == "identity" else 0.0
        factors, error = fit(kernel, rank, 60)
        assert error == pytest.approx(left, abs=1e-9 * max(energy, 1e-12))
        assert all(np.isfinite(factor).all() for factor in factors)
