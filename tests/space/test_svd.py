"""SVD: counts against torch's counter, errors against ``torch.linalg.svd``, modules against dense layers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, convolutions, every_geometry, linears
from hypothesis import given
from hypothesis import strategies as st
from measured import macs, params, reconstruct, relative_difference
from torch import Tensor, nn

from rank_search.space.layer import Layer
from rank_search.space.low_rank import LowRank
from rank_search.space.svd import SVD

FORM = SVD()
layers = st.one_of(convolutions(pointwise=True), linears())


def all_ranks(layer: Layer) -> list[int]:
    return list(range(1, min(layer.out_channels, layer.in_channels) + 1))


def build(drawn: DrawnLayer, rank: int) -> tuple[LowRank, Tensor]:
    """The factorised module and the weight that its factors multiply to."""
    weight = drawn.module.weight.detach().double()
    factors = FORM.factors(drawn.layer, FORM.analyse(drawn.layer, weight, np.array([[rank]])), (rank,))
    built = FORM.skeleton(drawn.module, (rank,))
    built.fill(factors, drawn.module)
    return built, reconstruct("svd", factors, (1, 1)).reshape(weight.shape)


@every_geometry
@given(layers)
def test_every_rank_up_to_the_smaller_side_is_a_candidate(drawn: DrawnLayer) -> None:
    assert FORM.candidates(drawn.layer)[:, 0].tolist() == all_ranks(drawn.layer)
    asked = np.arange(-2, 20)[:, None]
    assert asked[FORM.feasible(drawn.layer, asked), 0].tolist() == all_ranks(drawn.layer)
    assert FORM.largest_ranks(drawn.layer) == (max(all_ranks(drawn.layer)),)


@every_geometry
@given(layers, st.data())
def test_params_and_macs_are_what_torch_counts_in_the_built_module(drawn: DrawnLayer, data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from(all_ranks(drawn.layer)))
    built, _ = build(drawn, rank)
    assert FORM.params(drawn.layer, np.array([[rank]])).tolist() == [params(built) - drawn.bias_params]
    assert FORM.macs(drawn.layer, np.array([[rank]])).tolist() == [macs(built, drawn.example)]


@every_geometry
@given(layers)
def test_the_error_of_every_rank_is_the_tail_of_torchs_singular_values_and_the_distance_to_the_rebuilt_weight(
    drawn: DrawnLayer,
) -> None:
    weight = drawn.module.weight.detach().double()
    singular = torch.linalg.svdvals(weight.flatten(1)).numpy()
    tails = [float(np.square(singular[rank:]).sum()) for rank in all_ranks(drawn.layer)]
    ranks = FORM.candidates(drawn.layer)
    analysis = FORM.analyse(drawn.layer, weight, ranks)
    distances = [
        float((weight.flatten(1) - reconstruct("svd", factors, (1, 1)).flatten(1)).square().sum())
        for factors in (FORM.factors(drawn.layer, analysis, (rank,)) for rank in all_ranks(drawn.layer))
    ]
    errors, tiny = FORM.errors(drawn.layer, analysis, ranks), 1e-12 * float(weight.square().sum())
    np.testing.assert_allclose(errors, tails, rtol=1e-9, atol=tiny)
    np.testing.assert_allclose(errors, distances, rtol=1e-9, atol=tiny)


@every_geometry
@given(layers, st.data())
def test_the_module_computes_what_a_dense_layer_with_the_rebuilt_weight_does(
    drawn: DrawnLayer, data: st.DataObject
) -> None:
    built, weight = build(drawn, data.draw(st.sampled_from(all_ranks(drawn.layer))))
    dense = copy.deepcopy(drawn.module)
    dense.weight = nn.Parameter(weight.float())
    with torch.no_grad():
        assert relative_difference(built(drawn.example), dense(drawn.example)) < 1e-5


@every_geometry
@given(layers)
def test_at_full_rank_the_module_is_the_original_layer(drawn: DrawnLayer) -> None:
    built, _ = build(drawn, max(all_ranks(drawn.layer)))
    with torch.no_grad():
        assert relative_difference(built(drawn.example), drawn.module(drawn.example)) < 1e-5


@pytest.mark.parametrize("shape", [(5, 40), (40, 5)])
def test_a_matrix_of_rank_two_is_found_exactly_on_either_side(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape[0], 2).double() @ torch.randn(2, shape[1]).double()
    layer = Layer("linear", "linear", *shape)
    errors = FORM.errors(layer, FORM.analyse(layer, weight, FORM.candidates(layer)), FORM.candidates(layer))
    assert errors[0] > 1e-3 * float(weight.square().sum())
    assert errors[1] < 1e-13 * float(weight.square().sum())


@pytest.mark.parametrize(
    ("module", "words"),
    [(nn.Conv2d(4, 4, 1, groups=2), "groups = 1, this layer has 2"), (nn.Conv2d(4, 4, (3, 2)), "this kernel is 3x2")],
)
def test_it_says_why_it_does_not_apply(module: nn.Module, words: str) -> None:
    reason = FORM.why_not(Layer.of("layer", module))
    assert reason is not None
    assert words in reason
    assert FORM.why_not(Layer.of("layer", nn.Linear(4, 4))) is None
    assert FORM.why_not(Layer.of("layer", nn.Conv2d(4, 4, 1, stride=2))) is None
