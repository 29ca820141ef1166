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
from rank_search.space.forms.cp import CP, fit
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
FORM = CP()
LAYER = Layer("conv", "conv2d", 6, 5, (3, 2))


def of_rank(rank: int, layer: Layer = LAYER) -> Tensor:
    """A random weight that is a sum of ``rank`` outer products."""
    parts = [torch.randn(size, rank).double() for size in (layer.out_channels, layer.in_channels, layer.taps)]
    return torch.einsum("or,ir,kr->oik", *parts).reshape(layer.shape)


def break_parafac(monkeypatch: pytest.MonkeyPatch, kind: str, alternating: bool = True) -> None:
    """Every fit diverges, gives infinities or meets a singular matrix; so does, if asked, what is tried instead."""

    def broken(tensor: np.ndarray[Any, Any], rank: int, **_: Any) -> Any:
        if kind == "singular":
            raise np.linalg.LinAlgError("Singular matrix")
        value = {"nan": np.nan, "inf": np.inf, "huge": 1e80}[kind]
        return np.ones(rank), [np.full((size, rank), value) for size in tensor.shape]

    def nowhere(kernel: Tensor, start: list[Tensor], iterations: int) -> list[Tensor]:
        return [torch.full_like(factor, float("nan")) for factor in start]

    monkeypatch.setattr("rank_search.space.forms.cp.parafac", broken)
    if alternating:
        monkeypatch.setattr("rank_search.space.forms.cp.alternate", nowhere)


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
    out, into, taps, _ = fit(of_rank(3).flatten(2) + 0.1 * torch.randn(6, 5, 6), 3, 60)
    norms = torch.stack([out.norm(dim=0), into.norm(dim=0), taps.norm(dim=0)])
    torch.testing.assert_close(norms, norms[:1].expand(3, -1), rtol=1e-10, atol=0)


def test_the_same_weight_gives_the_same_factors() -> None:
    weight = torch.randn(6, 5, 6).double()
    for first, second in zip(fit(weight, 7, 60), fit(weight, 7, 60), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("kind", ["nan", "inf", "huge", "singular"])
def test_no_fit_is_worse_than_the_zero_tensor_whatever_fails(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What is left where nothing converges is the zero tensor, whose error is the whole energy."""
    break_parafac(monkeypatch, kind)
    weight = LayerWeight(LAYER, torch.randn(LAYER.shape))
    assert FORM.errors(weight, np.array([[1], [2]])) == pytest.approx([weight.energy] * 2, rel=1e-12)
    assert not any(factor.any() for factor in FORM.factors(weight, (2,)))


@pytest.mark.parametrize("kind", ["nan", "huge", "singular"])
def test_where_the_usual_fit_fails_pseudo_inverses_find_one(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A sum of two outer products is found at rank 2, and rank 1 is no worse than the best slice."""
    break_parafac(monkeypatch, kind, alternating=False)
    weight = LayerWeight(LAYER, of_rank(2))
    errors = FORM.errors(weight, np.array([[1], [2], [3]])) / weight.energy
    assert errors[1] < 1e-5
    assert errors[2] < 1e-5
    assert 1e-3 < errors[0] < 1


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
