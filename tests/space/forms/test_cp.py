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

from rank_search.errors import EvaluationError, InvalidInputError, LayerSelectionError
from rank_search.space import Budget, Choice, RankPlan, RankSpace
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


def break_parafac(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Every fit diverges, gives infinities or meets a singular matrix."""

    def broken(tensor: np.ndarray[Any, Any], rank: int, **_: Any) -> Any:
        if kind == "singular":
            raise np.linalg.LinAlgError("Singular matrix")
        value = {"nan": np.nan, "inf": np.inf, "huge": 1e80}[kind]
        return np.ones(rank), [np.full((size, rank), value) for size in tensor.shape]

    monkeypatch.setattr("rank_search.space.forms.cp.parafac", broken)


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
def test_without_a_fit_the_error_is_infinite_and_the_factors_are_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    break_parafac(monkeypatch, kind)
    weight = LayerWeight(LAYER, torch.randn(LAYER.shape))
    assert FORM.errors(weight, np.array([[1], [2]])).tolist() == [np.inf, np.inf]
    with pytest.raises(EvaluationError, match=r"layer 'conv': no finite CP of rank 2"):
        FORM.factors(weight, (2,))


@pytest.mark.parametrize("kind", ["nan", "singular"])
def test_a_rank_without_a_fit_is_never_the_data_free_optimum(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    break_parafac(monkeypatch, kind)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3))
    example = torch.randn(1, 4, 8, 8)
    alone = RankSpace.from_model(model, example, forms=["cp"])
    solution = alone.minimise(alone.relative_errors(), Budget(macs=1.0))
    assert alone.plan(solution.indices) == alone.dense
    mixed = RankSpace.from_model(model, example, forms=["cp", "tucker2"])
    solution = mixed.minimise(mixed.relative_errors(), Budget(macs=0.5))
    assert {choice.form for choice in mixed.plan(solution.indices).values()} <= {"dense", "tucker2"}
    assert np.isfinite(solution.value)
    with pytest.raises(EvaluationError):
        alone.compress(model, RankPlan({"0": Choice("cp", (1,))}))


def test_pruning_leaves_out_ranks_without_a_fit_and_layers_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    break_parafac(monkeypatch, "nan")
    model, example = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3)), torch.randn(1, 4, 8, 8)
    with pytest.raises(LayerSelectionError, match="0: no finite fit was found for any of its options"):
        RankSpace.from_model(model, example, forms=["cp"], prune=True)
    mixed = RankSpace.from_model(model, example, forms=["cp", "tucker2"], prune=True)
    assert [[form.name for form in options.forms] for options in mixed.layers] == [["tucker2"], ["tucker2"]]


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
