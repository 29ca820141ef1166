"""CP: its grid, exact recovery, balance, and what happens without a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, convolutions, every_geometry
from hypothesis import given
from measured import build, relative_difference
from torch import Tensor, nn

from rank_search.errors import InvalidInputError
from rank_search.space.forms.cp import CP
from rank_search.space.forms.cp_als import Sweeps
from rank_search.space.forms.cp_fit import fit
from rank_search.space.forms.cp_starts import Factors, least_of_fibres
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
FORM = CP()
LAYER = Layer("conv", "conv2d", 6, 5, (3, 2))


def of_rank(rank: int, layer: Layer = LAYER) -> Tensor:
    """A random weight that is a sum of ``rank`` outer products."""
    parts = [torch.randn(size, rank).double() for size in (layer.out_channels, layer.in_channels, layer.taps)]
    return torch.einsum("or,ir,kr->oik", *parts).reshape(layer.shape)


def break_sweeps(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """Every sweep diverges, or meets equations that cannot be solved."""

    def nowhere(self: Sweeps, start: Factors, most: int, tolerance: float = 0.0) -> tuple[Factors, float]:
        return [np.full_like(factor, value) for factor in start], value

    monkeypatch.setattr(Sweeps, "run", nowhere)


@every_geometry
@given(convolutions(channels=6))
def test_the_candidates_rise_from_one_and_never_cost_as_many_params_as_the_dense_layer(drawn: DrawnLayer) -> None:
    ranks, layer = FORM.candidates(drawn.layer)[:, 0], drawn.layer
    per_component = layer.out_channels + layer.in_channels + layer.groups * layer.taps
    dense = drawn.module.weight.numel()
    assert (np.diff(ranks) > 0).all()
    assert (ranks * per_component < dense).all()
    assert FORM.feasible(layer, ranks[:, None]).all()
    assert len(ranks) == 0 or ranks[0] == 1
    assert (len(ranks) == 0) == (per_component >= dense)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_weight_that_is_a_sum_of_few_outer_products_is_found(rank: int) -> None:
    weight = LayerWeight(LAYER, of_rank(rank))
    errors = FORM.errors(weight, np.array([[1], [2], [3]])) / weight.energy
    assert errors[rank - 1] < 1e-6
    assert (errors[: rank - 1] > 1e-3).all()


def test_a_module_of_the_true_rank_is_the_original_layer() -> None:
    module = nn.Conv2d(5, 6, (3, 2), stride=2, padding=1, padding_mode="circular")
    module.weight = nn.Parameter(of_rank(2).float())
    drawn = DrawnLayer.of(module, torch.randn(1, 5, 7, 8))
    built = build(FORM, drawn.module, drawn.weight(), (2,))
    with torch.no_grad():
        assert relative_difference(built(drawn.example), drawn.module(drawn.example)) < 1e-3


def test_the_factors_of_a_component_have_equal_norms() -> None:
    noisy = of_rank(3).flatten(2) + 0.1 * torch.randn(6, 5, 6)
    norms = np.stack([np.linalg.norm(factor, axis=0) for factor in fit(noisy.numpy(), 3, 60)[0]])
    np.testing.assert_allclose(norms, norms[:1].repeat(3, axis=0), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e80])
def test_no_fit_is_worse_than_its_start_or_the_zero_tensor_whatever_fails(
    monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    break_sweeps(monkeypatch, value)
    weight = LayerWeight(LAYER, torch.randn(LAYER.shape))
    errors = FORM.errors(weight, np.array([[1], [2], [4]])) / weight.energy
    assert (np.diff(errors) < 0).all()
    assert 0 < errors[-1] < errors[0] < 1
    assert all(factor.isfinite().all() for factor in FORM.factors(weight, (2,)))


@pytest.mark.parametrize("scale", [1e-60, 1e-20, 1.0, 1e20, 1e60])
def test_the_size_of_a_weight_changes_its_fit_in_nothing_but_size(scale: float) -> None:
    tensor = np.random.default_rng(0).normal(size=(6, 5, 6))
    error, scaled = fit(tensor, 4, 60)[1], fit(scale * tensor, 4, 60)[1]
    assert scaled == pytest.approx(scale**2 * error, rel=1e-3)


def test_a_weight_of_few_fibres_is_no_worse_than_they_are() -> None:
    """Two thirds of the channels pruned tap by tap: fibres say more than slices."""
    rng = np.random.default_rng(1)
    tensor = np.zeros((12, 12, 9))
    for row in rng.permutation(144)[:20]:
        tensor[row // 12, row % 12] = rng.normal(size=9)
    energy = np.square(tensor).sum()
    for rank in (5, 10, 20):
        assert fit(tensor, rank, 60)[1] <= least_of_fibres(tensor, rank) + 1e-12 * energy
    assert fit(tensor, 20, 60)[1] <= 1e-12 * energy


@pytest.mark.parametrize("rank", [1, 5, 8, 9, 40, 60])
def test_an_identity_kernel_needs_a_component_for_every_channel(rank: int) -> None:
    """``dirac_`` of C channels is a sum of C orthogonal outer products of unit norm: rank R leaves C - R of C."""
    layer = Layer("conv", "conv2d", 8, 8, (3, 3))
    weight = LayerWeight(layer, nn.init.dirac_(torch.empty(layer.shape)))
    assert FORM.errors(weight, np.array([[rank]]))[0] == pytest.approx(max(0, 8 - rank), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_kernel_has_rank_one(value: float) -> None:
    weight = LayerWeight(LAYER, torch.full(LAYER.shape, value))
    assert FORM.errors(weight, np.array([[1], [2], [5]])) == pytest.approx(np.zeros(3), abs=1e-9)


@every_geometry
@given(convolutions(channels=4))
def test_no_error_is_above_that_of_the_zero_tensor(drawn: DrawnLayer) -> None:
    weight, ranks = drawn.weight(), FORM.candidates(drawn.layer)
    errors = FORM.errors(weight, ranks)
    assert (errors[np.isfinite(errors)] < weight.energy).all()
    assert np.isfinite(errors).all()


@pytest.mark.parametrize("option", ["ranks", "iterations"])
@pytest.mark.parametrize("value", [0, -3, True, 2.0, "7"])
def test_an_option_below_one_or_no_whole_number_is_refused(option: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"cp {option}=.* is not allowed: give a whole number from 1"):
        CP(**{option: value})


@pytest.mark.parametrize("count", [1, 3, 14, 50])
def test_the_number_of_ranks_bounds_the_grid_which_keeps_its_ends(count: int) -> None:
    layer = Layer("conv", "conv2d", 24, 24, (3, 3))
    ranks = CP(ranks=count).candidates(layer)[:, 0]
    assert len(ranks) <= count
    assert ranks[0] == 1
    assert count == 1 or ranks[-1] == (24 * 24 * 9 - 1) // (24 + 24 + 9)


def test_other_iterations_are_another_fit() -> None:
    weight, rank = LayerWeight(LAYER, torch.randn(LAYER.shape)), np.array([[4]])
    assert CP(iterations=60).errors(weight, rank)[0] < CP(iterations=2).errors(weight, rank)[0]
