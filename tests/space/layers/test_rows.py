"""What a layer is given, as rows: times the weight they are what the layer puts out, in every geometry."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rank_search.space.layers.layer import Layer
from rank_search.space.layers.rows import extents_of, input_rows, output_rows, picked

GEOMETRIES = {
    "linear": (nn.Linear(6, 5), (3, 6)),
    "linear of tokens": (nn.Linear(6, 5), (3, 4, 6)),
    "linear of a grid of tokens": (nn.Linear(6, 5, bias=False), (3, 2, 4, 6)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2), (3, 4, 11)),
    "conv2d": (nn.Conv2d(4, 6, 3, padding=1), (3, 4, 7, 5)),
    "strided, asymmetric": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), bias=False), (3, 4, 7, 6)),
    "dilated, in groups": (nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2), (3, 4, 8, 8)),
    "same": (nn.Conv2d(4, 6, (3, 2), padding="same"), (3, 4, 7, 5)),
    "reflected": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (3, 4, 7, 5)),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (3, 4, 7, 5)),
    "pointwise, strided": (nn.Conv2d(4, 6, 1, stride=2), (3, 4, 7, 5)),
    "conv3d": (nn.Conv3d(2, 4, (3, 2, 1), padding=(1, 0, 0)), (2, 2, 4, 4, 3)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (3, 4, 5, 4)),
    "transposed, in groups, dilated": (
        nn.ConvTranspose2d(4, 6, (3, 2), stride=(1, 3), dilation=(2, 1), groups=2),
        (3, 4, 5, 4),
    ),
}


@pytest.mark.parametrize("most", [10_000, 3])
@pytest.mark.parametrize("kind", GEOMETRIES)
def test_rows_times_the_weight_are_the_outputs(kind: str, most: int) -> None:
    module, shape = GEOMETRIES[kind]
    module = module.double()
    layer = Layer.of("it", module)
    given = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = module(given)
        at = picked(extents_of(layer, output), most)
        rows = input_rows(layer, module, given, at)
        weight = layer.canonical(module.weight).flatten(2)
        wanted = torch.einsum("gnpf,gof->gnpo", rows, weight)
        if module.bias is not None:
            wanted += module.bias.reshape(layer.groups, 1, 1, -1)
        torch.testing.assert_close(output_rows(layer, output, at), wanted)


def test_positions_are_drawn_once_and_are_all_where_there_are_few() -> None:
    rows, columns = picked((4, 5), 20)
    assert (rows * 5 + columns).tolist() == list(range(20))
    some = picked((32, 32), 16)
    assert len(some[0]) == 16
    assert len({*zip(some[0].tolist(), some[1].tolist(), strict=True)}) == 16
    assert all(bool((a == b).all()) for a, b in zip(some, picked((32, 32), 16), strict=True))
