"""Spectra, gates and rebuilt weights: against the SVD of unfoldings written out here, and central differences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from written_out import Case, Gate, folded, gated, hard, soft, unfoldings

from rank_search.space.forms.cp import CP
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.forms.mode_spectra import ModeSpectra, gate_gradients, spectra_of
from rank_search.space.forms.svd import SVD
from rank_search.space.forms.svd_channel import SVDChannel
from rank_search.space.forms.svd_grouped import SVDGrouped
from rank_search.space.forms.svd_spatial import SVDSpatial
from rank_search.space.forms.tensor_train import TensorTrain
from rank_search.space.forms.tucker2 import Tucker2
from rank_search.space.layers.layer import Layer

TUCKER: list[Case] = [
    (Tucker2(), Layer("square", "conv2d", 5, 6, (3, 3))),
    (Tucker2(), Layer("grouped", "conv2d", 8, 6, (3, 1), groups=2)),
    (Tucker2(), Layer("tall", "conv2d", 9, 2, (1, 3))),  # 9 output channels from 2 x 3 inputs
    (Tucker2(), Layer("flat", "conv1d", 2, 9, (3,))),  # 9 input channels into 2 x 3
    (Tucker2(), Layer("up", "conv_transpose2d", 6, 4, (2, 3), groups=2)),
]
MATRIX: list[Case] = [
    (SVD(), Layer("linear", "linear", 7, 4)),
    (SVD(), Layer("wide", "linear", 4, 7)),
    (SVD(), Layer("pointwise", "conv2d", 6, 8, (1, 1), groups=2)),
    (SVDChannel(), Layer("channel", "conv2d", 6, 4, (2, 3), groups=2)),
    (SVDChannel(), Layer("tall", "conv1d", 9, 2, (3,))),
    (SVDChannel(), Layer("up", "conv_transpose2d", 6, 4, (3, 2), groups=2)),
    (SVDSpatial(), Layer("spatial", "conv2d", 4, 6, (3, 2), groups=2)),
    (SVDSpatial(), Layer("tall", "conv2d", 2, 5, (3, 2))),
    (SVDSpatial(), Layer("up", "conv_transpose2d", 5, 4, (2, 3))),
]


def name(case: Case) -> str:
    return f"{case[0].name}-{case[1].name}"


every = pytest.mark.parametrize("case", [*TUCKER, *MATRIX], ids=name)
matrix_only = pytest.mark.parametrize("case", MATRIX, ids=name)


def drawn(layer: Layer, seed: int = 0) -> Tensor:
    """A canonical weight ``[groups, o, i, taps]`` whose channels fade, so that singular values spread."""
    torch.manual_seed(seed)
    out, into = layer.group_channels
    weight = torch.randn(layer.groups, out, into, layer.taps, dtype=torch.float64)
    return weight * torch.linspace(1, 0.1, out).double()[:, None, None] * torch.linspace(1, 0.3, into).double()[:, None]


def truncated(case: Case, tensor: Tensor, ranks: Sequence[int]) -> Tensor:
    """The truncated HOSVD or SVD."""
    return gated(case, tensor, [[hard(rank)] * len(tensor) for rank in ranks])


def analysed(case: Case, tensor: Tensor) -> ModeSpectra:
    kind = spectra_of(case[0])
    assert kind is not None
    return kind(case[0], case[1], tensor)  # type: ignore[call-arg]


def all_ranks(spectra: ModeSpectra, least: int = 0) -> list[tuple[int, ...]]:
    return list(product(*(range(least, values.shape[1] + 1) for values in spectra.values)))


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


@every
def test_singular_values_of_every_mode_and_group_are_those_of_the_unfolding(case: Case) -> None:
    tensor = drawn(case[1])
    spectra = analysed(case, tensor)
    for found, matrices in zip(spectra.values, unfoldings(case, tensor), strict=True):
        close(found, torch.stack([torch.linalg.svdvals(matrix) for matrix in matrices]), 1e-7)
    assert tuple(values.shape[1] for values in spectra.values) == case[0].largest_ranks(case[1])


@every
def test_what_every_rank_loses_is_the_error_of_the_explicit_truncation(case: Case) -> None:
    tensor = drawn(case[1])
    spectra = analysed(case, tensor)
    lost, energy = spectra.lost(), float((tensor**2).sum())
    for ranks in all_ranks(spectra):
        error = float((tensor - truncated(case, tensor, ranks)).square().sum()) / energy
        assert lost[ranks] == pytest.approx(error, rel=1e-9, abs=1e-12)
    assert lost.shape == tuple(values.shape[1] + 1 for values in spectra.values)
    assert (np.stack(np.gradient(lost)) <= 1e-12).all()


@every
def test_hard_gates_rebuild_the_truncation_and_are_zeros_and_ones(case: Case) -> None:
    tensor = drawn(case[1])
    spectra = analysed(case, tensor)
    for ranks in all_ranks(spectra):
        gates = spectra.gates(ranks, soft=False)
        for gate, values, rank in zip(gates, spectra.values, ranks, strict=True):
            assert gate.tolist() == [[1.0] * rank + [0.0] * (values.shape[1] - rank)] * len(tensor)
        close(spectra.rebuild(gates), truncated(case, tensor, ranks))


@every
def test_gates_of_one_rebuild_the_weight(case: Case) -> None:
    tensor = drawn(case[1])
    spectra = analysed(case, tensor)
    full = tuple(values.shape[1] for values in spectra.values)
    for is_soft in (False, True):
        gates = spectra.gates(full, is_soft)
        assert all((gate == 1).all() for gate in gates)
        close(spectra.rebuild(gates), tensor, 1e-12)


@every
def test_soft_gates_are_one_minus_threshold_over_singular_value_per_group(case: Case) -> None:
    tensor = drawn(case[1])
    spectra = analysed(case, tensor)
    for ranks in all_ranks(spectra, least=1):
        gates, thresholds = spectra.gates(ranks, soft=True), spectra.thresholds(ranks)
        for mode, matrices in enumerate(unfoldings(case, tensor)):
            values = torch.stack([torch.linalg.svdvals(matrix) for matrix in matrices])
            dropped = values[:, ranks[mode] :]
            tau = dropped[:, :1] if dropped.shape[1] else torch.zeros(len(values), 1).double()
            close(gates[mode], (1 - tau / values).clamp_min(0), 1e-6)
            assert thresholds[mode] == pytest.approx(float(tau.max()), abs=1e-7)
            assert (gates[mode][:, ranks[mode] :] == 0).all()


@matrix_only
def test_soft_gates_of_one_mode_are_the_proximal_map_of_the_nuclear_norm(case: Case) -> None:
    tensor = drawn(case[1])
    spectra = analysed(case, tensor)
    for (rank,) in all_ranks(spectra, least=1)[:-1]:
        shrunk = []
        for matrix in unfoldings(case, tensor)[0]:
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            shrunk.append(left @ torch.diag((values - values[rank]).clamp_min(0)) @ right)
        close(spectra.rebuild(spectra.gates((rank,), soft=True)), folded(case, shrunk))


@pytest.mark.parametrize("case", TUCKER, ids=name)
def test_soft_gates_of_two_modes_shrink_the_components_of_both(case: Case) -> None:
    tensor = drawn(case[1])
    spectra = analysed(case, tensor)
    for ranks in all_ranks(spectra, least=1):
        wanted = gated(case, tensor, [[soft(rank)] * len(tensor) for rank in ranks])
        close(spectra.rebuild(spectra.gates(ranks, soft=True)), wanted, 1e-7)


@every
def test_a_zero_weight_loses_nothing_and_stays_zero(case: Case) -> None:
    tensor = torch.zeros_like(drawn(case[1]))
    spectra = analysed(case, tensor)
    assert (spectra.lost() == 0).all()
    ones = (1,) * len(spectra.values)
    assert spectra.thresholds(ones) == [0.0] * len(ones)
    for is_soft in (False, True):
        gates = spectra.gates(ones, is_soft)
        assert all(((gate >= 0) & (gate <= 1)).all() for gate in gates)
        assert (spectra.rebuild(gates) == 0).all()


@every
def test_a_weight_of_rank_one_loses_nothing_at_ranks_of_one(case: Case) -> None:
    _, layer = case
    out, into = layer.group_channels
    taps = torch.ones(layer.groups, 1, 1, layer.taps, dtype=torch.float64)
    tensor = taps * torch.rand(out, 1, 1).double() * torch.rand(into, 1).double()
    spectra = analysed(case, tensor)
    ones = (1,) * len(spectra.values)
    assert spectra.lost()[ones] == pytest.approx(0, abs=1e-14)
    close(spectra.rebuild(spectra.gates(ones, soft=False)), tensor, 1e-12)


@every
def test_gate_gradients_are_the_slopes_of_a_loss_of_the_gated_weight(case: Case) -> None:
    """Gate j of one mode alone at ``1 +- h``, the loss a fixed cubic of the weight."""
    tensor, step = drawn(case[1]), 1e-5
    slope = torch.randn_like(tensor)

    def loss(weight: Tensor) -> Tensor:
        return (slope * weight).sum() + (weight**3).sum()

    leaf = tensor.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    spectra, kind = analysed(case, tensor), spectra_of(case[0])
    assert kind is not None
    found = gate_gradients(spectra.bases, kind.unfold(*case, tensor), kind.unfold(*case, gradient))
    assert [mode.shape for mode in found] == [values.shape for values in spectra.values]
    unity: list[list[Gate]] = [[torch.ones_like] * len(tensor) for _ in found]

    def moved(by: float, mode: int, group: int, index: int) -> float:
        def gate(values: Tensor) -> Tensor:
            return torch.ones_like(values) + by * (torch.arange(len(values)) == index)

        gates = [list(maps) for maps in unity]
        gates[mode][group] = gate
        return float(loss(gated(case, tensor, gates)))

    for mode, gradients in enumerate(found):
        for group, index in np.ndindex(*gradients.shape):
            wanted = (moved(step, mode, group, index) - moved(-step, mode, group, index)) / (2 * step)
            assert float(gradients[group, index]) == pytest.approx(wanted, rel=1e-6, abs=1e-7)


@matrix_only
def test_refold_is_the_inverse_of_unfold(case: Case) -> None:
    form, layer = case
    assert isinstance(form, MatrixForm)
    tensor = drawn(layer)
    matrix = form.unfold(layer, tensor)
    assert torch.equal(matrix, torch.stack(unfoldings(case, tensor)[0]))
    assert torch.equal(form.refold(layer, matrix), tensor)
    assert torch.equal(form.unfold(layer, form.refold(layer, matrix)), matrix)
    assert tuple(matrix.shape[1:]) == form.sides(layer)


def test_forms_whose_ranks_are_no_singular_values_have_no_gates() -> None:
    assert [spectra_of(form) for form in (CP(), TensorTrain(), SVDGrouped())] == [None] * 3
