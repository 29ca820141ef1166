"""Tucker-2: counts against torch's counter, errors against explicit truncation, modules against dense convolutions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, convolutions, every_geometry
from hypothesis import given
from hypothesis import strategies as st
from measured import macs, params, reconstruct, relative_difference
from torch import Tensor, nn

from rank_search.space.layer import Layer
from rank_search.space.low_rank import LowRank
from rank_search.space.tucker2 import Tucker2

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
FORM = Tucker2()


def all_pairs(layer: Layer) -> list[tuple[int, int]]:
    """Every pair with ``R1 <= min(Co, R2 kh kw)`` and ``R2 <= min(Ci, R1 kh kw)``, one by one."""
    return [
        (out, into)
        for out in range(1, layer.out_channels + 1)
        for into in range(1, layer.in_channels + 1)
        if out <= into * layer.taps and into <= out * layer.taps
    ]


def build(drawn: DrawnLayer, ranks: tuple[int, int]) -> tuple[LowRank, Tensor]:
    """The factorised module and the weight that its factors multiply to."""
    weight = drawn.module.weight.detach().double()
    analysis = FORM.analyse(drawn.layer, weight, np.array([ranks]))
    factors = FORM.factors(drawn.layer, analysis, ranks)
    built = FORM.skeleton(drawn.module, ranks)
    built.fill(factors, drawn.module)
    return built, reconstruct("tucker2", factors, drawn.layer.kernel)


def with_weight(module: nn.Conv2d, weight: Tensor) -> nn.Conv2d:
    dense = copy.deepcopy(module)
    dense.weight = nn.Parameter(weight.to(module.weight.dtype))
    return dense


@every_geometry
@given(convolutions())
def test_the_candidates_are_exactly_the_pairs_that_a_tucker2_can_have(drawn: DrawnLayer) -> None:
    assert sorted(map(tuple, FORM.candidates(drawn.layer).tolist())) == all_pairs(drawn.layer)
    grid = np.array([(a, b) for a in range(-1, 10) for b in range(-1, 10)])
    assert [tuple(pair) for pair in grid[FORM.feasible(drawn.layer, grid)].tolist()] == all_pairs(drawn.layer)
    assert FORM.largest_ranks(drawn.layer) == tuple(np.array(all_pairs(drawn.layer)).max(0))


@every_geometry
@given(convolutions(), st.data())
def test_params_and_macs_are_what_torch_counts_in_the_built_module(drawn: DrawnLayer, data: st.DataObject) -> None:
    ranks = data.draw(st.sampled_from(all_pairs(drawn.layer)))
    built, _ = build(drawn, ranks)
    assert FORM.params(drawn.layer, np.array([ranks])).tolist() == [params(built) - drawn.bias_params]
    assert FORM.macs(drawn.layer, np.array([ranks])).tolist() == [macs(built, drawn.example)]


@every_geometry
@given(convolutions())
def test_the_error_of_every_pair_is_the_distance_to_the_weight_rebuilt_from_its_factors(drawn: DrawnLayer) -> None:
    weight = drawn.module.weight.detach().double()
    ranks = FORM.candidates(drawn.layer)
    analysis = FORM.analyse(drawn.layer, weight, ranks)
    distances = [
        float(
            (weight - reconstruct("tucker2", FORM.factors(drawn.layer, analysis, (a, b)), drawn.layer.kernel))
            .square()
            .sum()
        )
        for a, b in ranks.tolist()
    ]
    energy = float(weight.square().sum())
    np.testing.assert_allclose(FORM.errors(drawn.layer, analysis, ranks), distances, rtol=1e-9, atol=1e-12 * energy)


@every_geometry
@given(convolutions())
def test_the_error_of_every_pair_is_that_of_the_explicitly_truncated_hosvd(drawn: DrawnLayer) -> None:
    weight = drawn.module.weight.detach().double().numpy()
    out_basis = np.linalg.svd(weight.reshape(len(weight), -1))[0]
    in_basis = np.linalg.svd(weight.swapaxes(0, 1).reshape(weight.shape[1], -1))[0]
    ranks = FORM.candidates(drawn.layer)
    expected = []
    for a, b in ranks.tolist():
        onto_out, onto_in = out_basis[:, :a] @ out_basis[:, :a].T, in_basis[:, :b] @ in_basis[:, :b].T
        expected.append(np.square(weight - np.einsum("po,oihw,qi->pqhw", onto_out, weight, onto_in)).sum())
    errors = FORM.errors(drawn.layer, FORM.analyse(drawn.layer, torch.from_numpy(weight), ranks), ranks)
    np.testing.assert_allclose(errors, expected, rtol=1e-9, atol=1e-12 * np.square(weight).sum())


@every_geometry
@given(convolutions(), st.data())
def test_the_module_computes_what_a_dense_convolution_with_the_rebuilt_weight_does(
    drawn: DrawnLayer, data: st.DataObject
) -> None:
    built, weight = build(drawn, data.draw(st.sampled_from(all_pairs(drawn.layer))))
    dense = with_weight(drawn.module, weight)
    with torch.no_grad():
        assert relative_difference(built(drawn.example), dense(drawn.example)) < 1e-5


@every_geometry
@given(convolutions())
def test_at_full_rank_the_module_is_the_original_layer(drawn: DrawnLayer) -> None:
    ranks = FORM.largest_ranks(drawn.layer)
    built, _ = build(drawn, (ranks[0], ranks[1]))
    with torch.no_grad():
        assert relative_difference(built(drawn.example), drawn.module(drawn.example)) < 1e-5


def test_a_weight_of_low_multilinear_rank_is_found_exactly() -> None:
    weight = torch.einsum("oa,abhw,ib->oihw", torch.randn(9, 2), torch.randn(2, 3, 3, 2), torch.randn(7, 3)).double()
    layer = Layer("conv", "conv2d", 9, 7, (3, 2))
    ranks = np.array([(2, 3), (1, 3), (2, 2)])
    errors = FORM.errors(layer, FORM.analyse(layer, weight, ranks), ranks) / float(weight.square().sum())
    assert errors[0] < 1e-13
    assert (errors[1:] > 1e-4).all()


def test_the_table_of_a_wide_layer_is_right_at_sampled_pairs() -> None:
    module = nn.Conv2d(96, 160, 3)
    layer, weight = Layer.of("conv", module), module.weight.detach().double()
    analysis = FORM.analyse(layer, weight, np.empty((0, 2), np.int64))
    for ranks in [(1, 1), (9, 1), (160, 96), (80, 48), (31, 90)]:
        distance = (weight - reconstruct("tucker2", FORM.factors(layer, analysis, ranks), (3, 3))).square().sum()
        assert FORM.errors(layer, analysis, np.array([ranks]))[0] == pytest.approx(float(distance), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Linear(4, 4), "for convolutions"),
        (nn.Conv2d(4, 4, 3, groups=2), "groups = 1, this layer has 2"),
        (nn.Conv2d(4, 4, 1), "use the form svd"),
    ],
)
def test_it_says_why_it_does_not_apply(module: nn.Module, words: str) -> None:
    reason = FORM.why_not(Layer.of("layer", module))
    assert reason is not None
    assert words in reason
    assert FORM.why_not(Layer.of("layer", nn.Conv2d(4, 4, 3))) is None
