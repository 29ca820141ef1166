"""Errors in the metric of an input's second moment: they are what the layer's output changes by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, any_moment
from measured import build_option, full_kernel, reconstruct, squared_error
from small_nets import FRAMES_INPUT, TINY_INPUT, Frames, Tiny
from torch import Tensor, nn

from rank_search.errors import CovarianceError
from rank_search.space import RankPlan, RankSpace, input_covariances
from rank_search.space.layers.whitening import RIDGE, Whitening


@pytest.mark.parametrize("samples", [1, 3, 20])
def test_the_root_squared_is_the_moment_with_its_ridge(samples: int) -> None:
    drawn = torch.randn(2, samples, 5).double() * torch.logspace(0, 2, 5).double()
    moment = drawn.transpose(1, 2) @ drawn / samples
    whitening = Whitening.of("layer", moment, 2, 5)
    ridge = RIDGE * sum(one.trace() / 10 for one in moment)
    wanted = moment + ridge * torch.eye(5).double()
    found = whitening.scale * whitening.root @ whitening.root
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(whitening.root, whitening.root.transpose(1, 2), rtol=1e-9, atol=1e-9)
    identity = torch.eye(5).double().expand(2, 5, 5)
    torch.testing.assert_close(whitening.root @ whitening.inverse, identity, rtol=0, atol=1e-7)


def test_of_a_moment_that_is_not_quite_symmetric_both_halves_count() -> None:
    moment = any_moment(DrawnLayer.of(nn.Linear(5, 2), torch.randn(1, 5)).layer)
    skew = 1e-4 * torch.randn(5, 5).double().triu(1)
    lopsided = [Whitening.of("layer", moment + part, 1, 5) for part in (skew, skew.T)]
    torch.testing.assert_close(lopsided[0].root, lopsided[1].root, rtol=1e-9, atol=1e-9)
    assert not torch.equal(lopsided[0].root, Whitening.of("layer", moment, 1, 5).root)


@pytest.mark.parametrize(
    ("module", "size"),
    [
        (nn.Linear(8, 12), ()),
        (nn.Linear(8, 12), (3, 2)),
        (nn.Conv2d(8, 12, 1), (4, 5)),
        (nn.Conv2d(8, 12, 1, groups=2), (4, 5)),
        (nn.Conv1d(8, 12, 1), (7,)),
        (nn.Conv3d(8, 12, 1, bias=False), (2, 3, 2)),
        (nn.ConvTranspose2d(8, 12, 1, groups=2), (3, 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_the_error_of_every_option_is_the_mean_squared_change_of_the_layers_output(
    module: nn.Module, size: tuple[int, ...]
) -> None:
    shape = (9, *size, 8) if isinstance(module, nn.Linear) else (9, 8, *size)
    model, inputs = nn.Sequential(nn.ReLU(), module).double(), torch.randn(shape).double() + 0.3
    moments = input_covariances(model, [inputs[:4], inputs[4:]])
    space = RankSpace.from_model(model, inputs, forms=["svd"], covariances=moments)
    (options,), dense = space.layers, model(inputs)
    positions = dense.numel() // 12
    assert len(options) > 2
    for row in range(1, len(options)):
        compressed = space.compress(model, RankPlan({"1": options.choice(row)}))
        with torch.no_grad():
            change = float((compressed(inputs) - dense).square().sum()) / positions
        difference = full_kernel(module) - reconstruct(compressed.get_submodule("1"))  # type: ignore[arg-type]
        groups = difference.flatten(1).split(8 // getattr(module, "groups", 1), dim=1)
        ridge = RIDGE * float(moments["1"].diagonal(dim1=1, dim2=2).mean())
        extra = sum(ridge * float(group.square().sum()) for group in groups)
        assert options.errors[row] == pytest.approx(change + extra, rel=1e-6)
        assert extra < 0.05 * change + 1e-9


def test_with_covariances_the_output_of_a_layer_changes_less_at_equal_ranks() -> None:
    mixing = torch.randn(12, 12) * torch.logspace(0, -2, 12)
    model, inputs = nn.Sequential(nn.Linear(12, 12)), torch.randn(200, 12) @ mixing
    example = inputs[:1]
    plain = RankSpace.from_model(model, example, forms=["svd"])
    aware = RankSpace.from_model(model, example, forms=["svd"], covariances=input_covariances(model, [inputs]))
    for rank in range(1, 6):
        plan = plain.plan(np.array([rank]))
        with torch.no_grad():
            changes = [float((s.compress(model, plan)(inputs) - model(inputs)).square().mean()) for s in (plain, aware)]
        assert changes[1] < changes[0]


def test_the_same_moment_in_all_directions_changes_no_relative_error() -> None:
    model, example = Frames(), torch.randn(FRAMES_INPUT)
    forms = ["tucker2", "svd", "svd_channel", "svd_spatial", "svd_grouped", "tensor_train"]
    moments = {
        name: 4 * torch.eye(moment.shape[1]).double().expand(len(moment), -1, -1)
        for name, moment in input_covariances(model, [example]).items()
    }
    plain = RankSpace.from_model(model, example, forms=forms)
    aware = RankSpace.from_model(model, example, forms=forms, covariances=moments)
    for options, one, other in zip(plain.layers, plain.relative_errors(), aware.relative_errors(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-11)
        assert aware.layers[0].energy == pytest.approx(4 * (1 + RIDGE) * plain.layers[0].energy)
        assert len(options) == len(one)


def test_the_errors_of_a_whole_network_are_those_of_its_modules_in_the_metric() -> None:
    model, example = Frames().double(), torch.randn(FRAMES_INPUT).double()
    moments = input_covariances(model, [torch.randn(6, *FRAMES_INPUT[1:]).double()])
    space = RankSpace.from_model(model, example, forms=["tucker2", "svd", "svd_grouped"], covariances=moments)
    for options in space.layers:
        name = options.layer.name
        module = model.get_submodule(name)
        for row in range(1, len(options), 7):
            distance = squared_error(module, build_option(options, row, module), moments[name])
            assert options.errors[row] == pytest.approx(distance, rel=1e-6, abs=1e-10 * options.energy)


MOMENT = torch.eye(3).double()[None]


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (MOMENT[0], "has shape [3, 3], expected [1, 3, 3]"),
        (torch.eye(4).double()[None], "has shape [1, 4, 4], expected [1, 3, 3]"),
        (MOMENT.expand(2, -1, -1), "has shape [2, 3, 3], expected [1, 3, 3]"),
        (MOMENT * float("nan"), "has 9 entries that are NaN or infinite"),
        (MOMENT + torch.tensor([0, 0, float("inf")]), "has 3 entries that are NaN or infinite"),
        (-MOMENT, "has the negative eigenvalue -1: a second moment has none"),
        (MOMENT - 0.4, "has the negative eigenvalue -0.2"),
    ],
)
def test_what_is_no_second_moment_of_the_layer_is_refused_with_its_name(moment: Tensor, words: str) -> None:
    model, example = Tiny(), torch.randn(TINY_INPUT)
    good: dict[str, Any] = input_covariances(model, [example])
    with pytest.raises(CovarianceError) as caught:
        RankSpace.from_model(model, example, covariances={**good, "second": moment})
    assert "the input covariance of layer 'second' " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_without_a_covariance_is_refused_unless_it_is_left_out() -> None:
    model, example = Tiny(), torch.randn(TINY_INPUT)
    moments = input_covariances(model, [example])
    del moments["second"]
    with pytest.raises(CovarianceError, match=r"no input covariance of layer 'second': measure them with input_cov"):
        RankSpace.from_model(model, example, covariances=moments)
    space = RankSpace.from_model(model, example, covariances=moments, exclude=["second"])
    assert list(space.dense) == ["first", "head"]


def test_rounding_below_zero_is_no_negative_eigenvalue() -> None:
    drawn = torch.randn(1, 2, 6).double()
    moment = drawn.transpose(1, 2) @ drawn - 1e-12 * torch.eye(6).double()
    whitening = Whitening.of("layer", moment, 1, 6)
    assert torch.isfinite(whitening.root).all()
    assert torch.isfinite(whitening.inverse).all()


FORMS = ["tucker2", "svd_channel", "svd_spatial", "svd_grouped", "tensor_train", "cp"]


@pytest.mark.parametrize(
    ("form", "scale"),
    [(form, scale) for form in FORMS for scale in (0.0, 1e-20, 1e20)],
)
def test_a_layer_whose_inputs_are_all_zero_or_of_any_size_still_computes(form: str, scale: float) -> None:
    drawn = DrawnLayer.of(nn.Conv2d(8, 8, 3), torch.randn(1, 8, 5, 5))
    model, example = drawn.module.float(), drawn.example.float()
    moments = {"": scale * any_moment(drawn.layer)}
    space = RankSpace.from_model(model, example, forms=[form], covariances=moments)
    assert np.isfinite(space.relative_errors()[0]).all()
    for row in (1, len(space.layers[0]) // 2):
        compressed = space.compress(model, space.plan(np.array([row])))
        with torch.no_grad():
            assert torch.isfinite(compressed(example)).all()
