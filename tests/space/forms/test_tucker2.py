"""Tucker-2: errors against explicit truncation, low multilinear rank, and a wide layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, convolutions, every_geometry
from hypothesis import given
from measured import build, squared_error
from torch import Tensor, nn

from rank_search.space.forms.tucker2 import Tucker2
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
FORM = Tucker2()


@every_geometry
@given(convolutions())
def test_the_error_of_every_pair_is_that_of_the_explicitly_truncated_hosvd(drawn: DrawnLayer) -> None:
    ranks, weight = FORM.candidates(drawn.layer), drawn.weight()
    expected = np.zeros(len(ranks))
    for group in weight.plain.numpy():  # [o, i, taps]
        out_basis = np.linalg.svd(group.reshape(len(group), -1))[0]
        in_basis = np.linalg.svd(group.swapaxes(0, 1).reshape(group.shape[1], -1))[0]
        for row, (a, b) in enumerate(ranks.tolist()):
            onto_out, onto_in = out_basis[:, :a] @ out_basis[:, :a].T, in_basis[:, :b] @ in_basis[:, :b].T
            expected[row] += np.square(group - np.einsum("po,oit,qi->pqt", onto_out, group, onto_in)).sum()
    np.testing.assert_allclose(FORM.errors(weight, ranks), expected, rtol=1e-9, atol=1e-12 * weight.energy)


def of_multilinear_rank() -> Tensor:
    return torch.einsum("oa,abhw,ib->oihw", torch.randn(9, 2), torch.randn(2, 3, 3, 2), torch.randn(7, 3)).double()


def test_a_weight_of_low_multilinear_rank_is_found_exactly() -> None:
    weight = LayerWeight(Layer("conv", "conv2d", 9, 7, (3, 2)), of_multilinear_rank())
    errors = FORM.errors(weight, np.array([(2, 3), (1, 3), (2, 2)])) / weight.energy
    assert errors[0] < 1e-13
    assert (errors[1:] > 1e-4).all()


def test_the_table_of_a_wide_layer_is_right_at_sampled_pairs() -> None:
    module = nn.Conv2d(96, 160, 3)
    weight = LayerWeight(Layer.of("conv", module), module.weight)
    double = nn.Conv2d(96, 160, 3).double()
    double.weight = nn.Parameter(module.weight.detach().double())
    for ranks in [(1, 1), (9, 1), (160, 96), (80, 48), (31, 90)]:
        distance = squared_error(double, build(FORM, double, weight, ranks))
        assert FORM.errors(weight, np.array([ranks]))[0] == pytest.approx(distance, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("out", "into"), [(40, 2), (2, 40)])
def test_channels_that_outnumber_the_rest_of_the_weight_have_only_as_many_ranks(out: int, into: int) -> None:
    drawn = DrawnLayer.of(nn.Conv2d(into, out, (1, 3)), torch.randn(1, into, 3, 5))
    assert FORM.largest_ranks(drawn.layer) == (min(out, 6), min(into, 6))
    full = FORM.largest_ranks(drawn.layer)
    assert squared_error(drawn.module, build(FORM, drawn.module, drawn.weight(), full)) < 1e-20
