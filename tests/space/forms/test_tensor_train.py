"""The tensor train: against a plain TT-SVD, never worse than Tucker-2 at equal ranks, and its grid of first ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, any_moment, convolutions, every_geometry
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from rank_search.space.forms.tensor_train import FIRST_RANKS, TensorTrain
from rank_search.space.forms.tucker2 import Tucker2

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
FORM = TensorTrain()


def tt_svd(tensor: NDArray[np.float64], first: int, second: int) -> NDArray[np.float64]:
    """What is left of ``[Ci, taps, Co]`` after two truncated SVDs one after the other (Oseledets, 2011)."""
    into, taps, out = tensor.shape
    left, values, right = np.linalg.svd(tensor.reshape(into, taps * out), full_matrices=False)
    rest = (values[:first, None] * right[:first]).reshape(-1, out)
    middle, values, last = np.linalg.svd(rest, full_matrices=False)
    kept = (middle[:, :second] * values[:second]) @ last[:second]
    return (left[:, :first] @ kept.reshape(-1, taps * out)).reshape(into, taps, out)


@every_geometry
@given(convolutions())
def test_the_error_of_every_pair_is_that_of_a_plain_tt_svd(drawn: DrawnLayer) -> None:
    ranks, weight = FORM.candidates(drawn.layer), drawn.weight()
    expected = np.zeros(len(ranks))
    for group in weight.plain.permute(0, 2, 3, 1).numpy():
        for row, pair in enumerate(ranks.tolist()):
            expected[row] += np.square(group - tt_svd(group, *pair)).sum()
    np.testing.assert_allclose(FORM.errors(weight, ranks), expected, rtol=1e-9, atol=1e-12 * weight.energy)


@every_geometry
@given(convolutions(), st.booleans())
def test_it_costs_what_tucker2_costs_at_equal_ranks_and_never_errs_more(drawn: DrawnLayer, whitened: bool) -> None:
    layer, ranks, other = drawn.layer, FORM.candidates(drawn.layer), Tucker2()
    weight = drawn.weight(any_moment(layer) if whitened else None)
    swapped = ranks[:, ::-1]
    assert FORM.params(layer, ranks).tolist() == other.params(layer, swapped).tolist()
    assert FORM.macs(layer, ranks).tolist() == other.macs(layer, swapped).tolist()
    assert (FORM.errors(weight, ranks) <= other.errors(weight, swapped) + 1e-12 * weight.energy).all()


def test_it_errs_less_than_tucker2_on_some_weight() -> None:
    drawn = DrawnLayer.of(nn.Conv2d(8, 8, 3), torch.randn(1, 8, 5, 5))
    weight, pair = drawn.weight(), np.array([[3, 3]])
    assert FORM.errors(weight, pair)[0] < 0.999 * Tucker2().errors(weight, pair)[0]


@pytest.mark.parametrize("into", [5, 16, 17, 40, 64])
def test_a_wide_layer_offers_sixteen_evenly_spaced_first_ranks_up_to_the_largest_and_all_second_ones(into: int) -> None:
    drawn = DrawnLayer.of(nn.Conv2d(into, 4, 3), torch.randn(1, into, 3, 3))
    top = min(into, 4 * 9)
    ranks = FORM.candidates(drawn.layer)
    firsts = np.unique(ranks[:, 0])
    assert len(firsts) == min(top, FIRST_RANKS)
    assert firsts[-1] == top
    assert np.diff([0, *firsts]).max() - np.diff([0, *firsts]).min() <= 1
    for first in firsts.tolist():
        seconds = [out for out in range(1, 5) if out <= 9 * first and first <= 9 * out]
        assert ranks[ranks[:, 0] == first, 1].tolist() == seconds


def test_a_first_rank_between_the_grid_can_be_built_all_the_same() -> None:
    drawn = DrawnLayer.of(nn.Conv2d(40, 4, 3), torch.randn(1, 40, 3, 3))
    between = next(rank for rank in range(1, 36) if rank not in FORM.candidates(drawn.layer)[:, 0])
    assert FORM.feasible(drawn.layer, np.array([[between, 4]])).tolist() == [True]
    group = drawn.weight().plain.permute(0, 2, 3, 1).numpy()[0]
    expected = np.square(group - tt_svd(group, between, 3)).sum()
    assert FORM.errors(drawn.weight(), np.array([[between, 3]]))[0] == pytest.approx(expected)
