"""SVD: errors against ``torch.linalg.svd``, and exact low ranks on either side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, convolutions, every_geometry, linears
from hypothesis import given
from hypothesis import strategies as st
from measured import params
from torch import nn

from rank_search.space.forms.svd import SVD
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

FORM = SVD()
layers = st.one_of(convolutions(kernel="pointwise"), linears())


@every_geometry
@given(layers)
def test_the_error_of_every_rank_is_the_tail_of_torchs_singular_values(drawn: DrawnLayer) -> None:
    ranks, weight = FORM.candidates(drawn.layer), drawn.weight()
    energies = torch.linalg.svdvals(weight.plain.flatten(2)).square().sum(0).numpy()
    tails = [float(energies[rank:].sum()) for (rank,) in ranks.tolist()]
    np.testing.assert_allclose(FORM.errors(weight, ranks), tails, rtol=1e-9, atol=1e-12 * weight.energy)


@pytest.mark.parametrize("shape", [(5, 40), (40, 5)])
def test_a_matrix_of_rank_two_is_found_exactly_on_either_side(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape[0], 2).double() @ torch.randn(2, shape[1]).double()
    weight = LayerWeight(Layer("linear", "linear", *shape), matrix)
    errors = FORM.errors(weight, FORM.candidates(weight.layer))
    assert errors[0] > 1e-3 * weight.energy
    assert errors[1] < 1e-13 * weight.energy


@pytest.mark.parametrize(
    ("module", "strided"),
    [(nn.Conv2d(4, 6, 1, stride=2), 0), (nn.ConvTranspose2d(4, 6, 1, stride=2, output_padding=1), 1)],
    ids=["down", "up"],
)
def test_the_stride_stands_where_the_fewer_pixels_are(module: nn.Module, strided: int) -> None:
    built = FORM.skeleton(module, (2,))
    assert [factor.stride for factor in built] == [(2, 2) if i == strided else (1, 1) for i in range(2)]
    assert params(built) == 2 * 4 + 2 * 6 + 6
