"""The spatial split: against ``torch.linalg.svd`` of the matrix ``[Ci kh, Co kw]`` written out entry by entry."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from drawn_layers import TWO_AXES, DrawnLayer, convolutions, every_geometry
from hypothesis import given
from measured import build, full_kernel, squared_error
from torch import nn

from rank_search.space.forms.svd_spatial import SVDSpatial

FORM = SVDSpatial()


@every_geometry
@given(convolutions(TWO_AXES, "long on both axes"))
def test_the_error_of_every_rank_is_the_tail_of_torchs_singular_values(drawn: DrawnLayer) -> None:
    layer, kernel = drawn.layer, full_kernel(drawn.module)
    (out, into), (height, width) = layer.group_channels, layer.kernel
    energies = torch.zeros(min(into * height, out * width), dtype=torch.float64)
    for group in range(layer.groups):
        matrix = torch.zeros(into * height, out * width, dtype=torch.float64)
        for o, i, h, w in product(range(out), range(into), range(height), range(width)):
            matrix[i * height + h, o * width + w] = kernel[group * out + o, group * into + i, h, w]
        energies += torch.linalg.svdvals(matrix).square()
    ranks, weight = FORM.candidates(layer), drawn.weight()
    tails = [float(energies[rank:].sum()) for (rank,) in ranks.tolist()]
    np.testing.assert_allclose(FORM.errors(weight, ranks), tails, rtol=1e-9, atol=1e-12 * weight.energy)


def test_a_separable_filter_has_rank_one_and_its_two_axes_carry_their_own_geometry() -> None:
    module = nn.Conv2d(1, 1, (3, 5), stride=(1, 2), padding=(0, 2), dilation=(2, 1), bias=False).double()
    module.weight = nn.Parameter(torch.einsum("h,w->hw", *(torch.randn(n).double() for n in (3, 5)))[None, None])
    drawn = DrawnLayer.of(module, torch.randn(1, 1, 9, 9))
    built = build(FORM, module, drawn.weight(), (1,))
    assert squared_error(module, built) < 1e-20
    first, last = built
    assert (first.kernel_size, first.stride, first.padding, first.dilation) == ((3, 1), (1, 1), (0, 0), (2, 1))
    assert (last.kernel_size, last.stride, last.padding, last.dilation) == ((1, 5), (1, 2), (0, 2), (1, 1))


def test_the_first_axis_is_counted_at_the_pixels_between_both_strides() -> None:
    drawn = DrawnLayer.of(nn.Conv2d(4, 6, 3, stride=2, padding=1), torch.randn(1, 4, 8, 12))  # 8 x 12 to 4 x 6
    macs = FORM.macs(drawn.layer, np.array([[5]]))
    assert macs.tolist() == [4 * 12 * 4 * 3 * 5 + 4 * 6 * 6 * 3 * 5]
