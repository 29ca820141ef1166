"""Networks of every kind of convolution, compressed by every form, saved and loaded."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from measured import reconstruct, relative_difference
from small_nets import FRAMES_INPUT, Frames
from torch import nn

from rank_search.space import Choice, RankPlan, RankSpace, compress, input_covariances, load, plan_of, save
from rank_search.space.forms.low_rank import LowRank

PLANS = {
    "channel cores": {
        "film": Choice("tucker2", (3, 2)),
        "down": Choice("tensor_train", (2, 3)),
        "up": Choice("tucker2", (2, 3)),
        "time": Choice("tensor_train", (4, 3)),
        "head": Choice("svd", (3,)),
    },
    "matrices": {
        "film": Choice("svd_channel", (3,)),
        "down": Choice("svd_spatial", (3,)),
        "up": Choice("svd_spatial", (4,)),
        "time": Choice("svd_grouped", (3, 2)),
    },
    "groups and cp": {
        "film": Choice("svd_grouped", (2, 2)),
        "down": Choice("cp", (4,)),
        "up": Choice("svd_grouped", (2, 1)),
        "time": Choice("svd_channel", (4,)),
    },
}
every_plan = pytest.mark.parametrize("choices", PLANS.values(), ids=PLANS)


@every_plan
def test_the_network_computes_what_the_dense_one_does_with_the_rebuilt_weights(choices: dict[str, Choice]) -> None:
    model, example = Frames().eval(), torch.randn(2, *FRAMES_INPUT[1:])
    compressed, dense = compress(model, RankPlan(choices)), copy.deepcopy(model)
    for name in choices:
        low_rank, layer = compressed.get_submodule(name), dense.get_submodule(name)
        assert isinstance(low_rank, LowRank)
        kernel = reconstruct(low_rank).float()
        if not isinstance(layer, nn.Linear):
            layer.groups = 1
        layer.weight = nn.Parameter(kernel.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else kernel)
    with torch.no_grad():
        assert relative_difference(compressed(example), dense(example)) < 1e-5
        assert relative_difference(compressed(example), model(example)) > 1e-3


@every_plan
def test_a_saved_network_comes_back_bit_for_bit_with_its_plan(choices: dict[str, Choice], tmp_path: Path) -> None:
    compressed, example = compress(Frames(), RankPlan(choices)).eval(), torch.randn(FRAMES_INPUT)
    back = load(save(compressed, tmp_path), Frames)
    assert plan_of(back) == RankPlan(choices)
    with torch.no_grad():
        assert torch.equal(back(example), compressed(example))


@every_plan
def test_factors_are_plain_layers_of_the_dense_layers_class_or_pointwise_ones(choices: dict[str, Choice]) -> None:
    model = Frames()
    compressed = compress(model, RankPlan(choices))
    for name in choices:
        dense = model.get_submodule(name)
        for factor in compressed.get_submodule(name):  # type: ignore[attr-defined]
            pointwise = nn.Conv2d if isinstance(dense, nn.ConvTranspose2d) else type(dense)
            assert type(factor) in (type(dense), pointwise)
            assert factor.weight.is_contiguous()
            assert factor.weight.requires_grad


def test_with_covariances_a_space_builds_in_the_metric_of_its_errors_and_the_plain_function_does_not() -> None:
    model, example = Frames(), torch.randn(FRAMES_INPUT)
    torch.manual_seed(1)
    moments = input_covariances(model, [torch.randn(8, *FRAMES_INPUT[1:])])
    forms = ["tucker2", "tensor_train", "svd"]
    aware = RankSpace.from_model(model, example, forms=forms, covariances=moments)
    plain = RankSpace.from_model(model, example, forms=forms)
    plan = RankPlan({"down": Choice("tucker2", (2, 1))})
    built = [
        reconstruct(network.get_submodule("down"))  # type: ignore[arg-type]
        for network in (plain.compress(model, plan), compress(model, plan), aware.compress(model, plan))
    ]
    torch.testing.assert_close(built[0], built[1], rtol=0, atol=0)
    assert relative_difference(built[2], built[0]) > 1e-4
    assert np.isfinite(np.concatenate(aware.relative_errors())).all()
