"""SVD of groups of channels: ``torch.linalg.svd`` group by group, correlations between groups, and refused groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, any_moment, convolutions, every_geometry
from hypothesis import given
from measured import build, full_kernel, squared_error
from torch import nn

from rank_search.errors import InvalidInputError, PlanError
from rank_search.space import Choice, RankPlan, RankSpace
from rank_search.space.forms.svd_channel import SVDChannel
from rank_search.space.forms.svd_grouped import SVDGrouped
from rank_search.space.layers.layer import Layer

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
FORM = SVDGrouped()


@every_geometry
@given(convolutions())
def test_k_groups_are_k_singular_value_decompositions_of_the_channels_in_a_row(drawn: DrawnLayer) -> None:
    layer, kernel, weight = drawn.layer, full_kernel(drawn.module), drawn.weight()
    out, into = layer.group_channels
    for k in [k for k in range(1, into + 1) if into % k == 0]:
        tails = np.zeros(min(out, into // k * layer.taps) + 1)
        for outer in range(layer.groups):
            rows = kernel[outer * out : (outer + 1) * out, outer * into : (outer + 1) * into]
            for part in rows.chunk(k, dim=1):
                energies = torch.linalg.svdvals(part.flatten(1)).square().numpy()
                tails[: len(energies)] += energies[::-1].cumsum()[::-1]
        ranks = np.array([(k, rank) for rank in range(1, len(tails))])
        np.testing.assert_allclose(FORM.errors(weight, ranks), tails[1:], rtol=1e-9, atol=1e-12 * weight.energy)


@every_geometry
@given(convolutions())
def test_one_group_is_the_channel_split(drawn: DrawnLayer) -> None:
    single = SVDChannel().candidates(drawn.layer)
    ranks = np.concatenate([np.ones_like(single), single], axis=1)
    for moment in (None, any_moment(drawn.layer)):
        weight, other = drawn.weight(moment), drawn.weight(moment)
        wanted = SVDChannel().errors(other, single)
        np.testing.assert_allclose(FORM.errors(weight, ranks), wanted, rtol=1e-7, atol=1e-11 * weight.energy)
    assert FORM.params(drawn.layer, ranks).tolist() == SVDChannel().params(drawn.layer, single).tolist()
    assert FORM.macs(drawn.layer, ranks).tolist() == SVDChannel().macs(drawn.layer, single).tolist()


def test_with_correlated_groups_the_error_is_that_of_the_output_and_not_the_sum_of_the_groups() -> None:
    drawn = DrawnLayer.of(nn.Conv2d(4, 6, 3), torch.randn(1, 4, 5, 5))
    shared = torch.eye(4, dtype=torch.float64) + 0.9 * (torch.ones(4, 4, dtype=torch.float64) - torch.eye(4))
    blocks = torch.block_diag(shared[:2, :2], shared[2:, 2:])
    correlated, alone = (drawn.weight(moment[None]) for moment in (shared, blocks))
    ranks = np.array([[2, 2]])
    built = build(FORM, drawn.module, correlated, (2, 2))
    found = FORM.errors(correlated, ranks)[0]
    assert found == pytest.approx(squared_error(drawn.module, built, shared[None]), rel=1e-9)
    assert abs(found / FORM.errors(alone, ranks)[0] - 1) > 0.01


@pytest.mark.parametrize("groups", [[0], [-1], [True], [2.0], ["2"], [2, 0]])
def test_groups_below_one_or_no_whole_numbers_are_refused(groups: list[int]) -> None:
    with pytest.raises(InvalidInputError, match=r"svd_grouped groups .* is not allowed: give whole numbers from 1"):
        SVDGrouped(groups)


def test_only_the_groups_that_were_asked_for_and_divide_the_channels_are_offered() -> None:
    layer = Layer.of("conv", nn.Conv2d(12, 8, 3))
    assert np.unique(FORM.candidates(layer)[:, 0]).tolist() == [1, 2, 3, 4, 6, 12]
    assert np.unique(SVDGrouped([4, 2, 5, 2]).candidates(layer)[:, 0]).tolist() == [2, 4]
    assert SVDGrouped([4, 2, 5]).why_not(layer) is None
    reason = SVDGrouped([5, 7]).why_not(Layer.of("conv", nn.Conv2d(16, 8, 3)))
    assert reason == "svd_grouped groups 5, 7 do not divide the 16 input channels"


def test_a_plan_with_groups_that_do_not_divide_the_channels_is_told_which_do() -> None:
    space = RankSpace.from_model(nn.Conv2d(16, 8, 3), torch.randn(1, 16, 5, 5), forms=["svd_grouped"])
    with pytest.raises(PlanError) as caught:
        space.indices(RankPlan({"": Choice("svd_grouped", (5, 2))}))
    assert "groups 5 do not divide its 16 input channels; allowed: 1, 2, 4, 8, 16" in str(caught.value)
    space = RankSpace.from_model(nn.Conv2d(16, 20, (1, 3)), torch.randn(1, 16, 5, 5), forms=["svd_grouped"])
    with pytest.raises(PlanError, match="svd_grouped rank 13 is above the largest with 4 groups, 12"):
        space.indices(RankPlan({"": Choice("svd_grouped", (4, 13))}))
