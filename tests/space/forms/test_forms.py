"""What every form must hold for every kind of layer: ranks, counts, errors in both metrics, and the built module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, any_moment, every_geometry
from form_cases import CASES, FormCase
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import build, macs, params, reconstruct, relative_difference, squared_error
from torch import nn

from rank_search.space.forms.decomposition import decompositions
from rank_search.space.layers.layer import Layer

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
SHOWN = 12  # ranks of one layer that are built, at most

every_form = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
some_geometries = settings(every_geometry, max_examples=30)


def some(ranks: np.ndarray[Any, Any]) -> list[tuple[int, ...]]:
    """At most ``SHOWN`` rows, both ends among them."""
    at = np.unique(np.linspace(0, len(ranks) - 1, min(len(ranks), SHOWN)).astype(int))
    return [tuple(row) for row in ranks[at].tolist()]


def a_layer_and_ranks(data: st.DataObject, case: FormCase) -> tuple[DrawnLayer, tuple[int, ...]]:
    drawn = data.draw(case.layers)
    return drawn, data.draw(st.sampled_from(list(case.all_ranks(drawn.layer))))


def test_every_registered_form_is_under_test() -> None:
    assert set(CASES) == set(decompositions.names())


@every_form
@every_geometry
@given(data=st.data())
def test_feasible_are_exactly_the_ranks_that_are_possible_and_every_candidate_is(
    case: FormCase, data: st.DataObject
) -> None:
    form, layer = case.form, data.draw(case.layers).layer
    possible = set(case.all_ranks(layer))
    largest = form.largest_ranks(layer)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*[np.arange(-1, top + 3) for top in largest])], axis=1)
    assert {tuple(row) for row in grid[form.feasible(layer, grid)].tolist()} == possible
    assert largest == tuple(np.array(sorted(possible)).max(0))
    candidates = form.candidates(layer)
    offered = {tuple(row) for row in candidates.tolist()}
    assert candidates.dtype == np.int64
    assert len(offered) == len(candidates)
    assert offered == possible if case.offers_all else offered <= possible
    assert form.why_not(layer) is None


@every_form
@every_geometry
@given(data=st.data())
def test_params_and_macs_are_what_torch_counts_in_the_built_module(case: FormCase, data: st.DataObject) -> None:
    drawn, ranks = a_layer_and_ranks(data, case)
    built = case.form.skeleton(drawn.module, ranks).to_empty(device="cpu").double()
    assert case.form.params(drawn.layer, np.array([ranks])).tolist() == [params(built) - drawn.bias_params]
    assert case.form.macs(drawn.layer, np.array([ranks])).tolist() == [macs(built, drawn.example)]


@every_form
@pytest.mark.parametrize("whitened", [False, True], ids=["plain", "whitened"])
@some_geometries
@given(data=st.data())
def test_the_error_of_a_rank_is_the_distance_to_the_weight_rebuilt_from_the_module(
    case: FormCase, whitened: bool, data: st.DataObject
) -> None:
    drawn = data.draw(case.layers)
    samples = data.draw(st.sampled_from([None, 1])) if whitened else None  # one sample: a singular moment
    moment = any_moment(drawn.layer, seed=1, samples=samples) if whitened else None
    weight, candidates = drawn.weight(moment), case.form.candidates(drawn.layer)
    ranks = some(candidates)
    errors = case.form.errors(weight, candidates) * weight.scale
    assert errors.shape == (len(candidates),)
    found = dict(zip(map(tuple, candidates.tolist()), errors.tolist(), strict=True))
    energy = squared_error(drawn.module, [zeroed(drawn.module)], moment)
    assert weight.energy * weight.scale == pytest.approx(energy, rel=1e-9)
    for row in ranks:
        if case.full is None and not np.isfinite(found[row]):
            continue
        distance = squared_error(drawn.module, build(case.form, drawn.module, weight, row), moment)
        assert found[row] == pytest.approx(distance, rel=1e-7, abs=1e-11 * energy)


def zeroed(module: nn.Module) -> nn.Module:
    twin = copy.deepcopy(module)
    nn.init.zeros_(twin.weight)  # type: ignore[arg-type]
    return twin


@every_form
@some_geometries
@given(data=st.data())
def test_the_errors_of_some_ranks_are_those_of_all_in_whatever_order(case: FormCase, data: st.DataObject) -> None:
    drawn = data.draw(case.layers)
    weight, ranks = drawn.weight(), case.form.candidates(drawn.layer)
    errors = case.form.errors(weight, ranks)
    again = case.form.errors(drawn.weight(), ranks[::-2]) if len(ranks) else errors
    np.testing.assert_allclose(again, errors[::-2], rtol=1e-9, atol=1e-13 * weight.energy)
    assert (errors >= 0).all()


@every_form
@some_geometries
@given(data=st.data())
def test_the_module_computes_what_a_dense_layer_with_the_rebuilt_weight_does(
    case: FormCase, data: st.DataObject
) -> None:
    drawn, ranks = a_layer_and_ranks(data, case)
    moment = data.draw(st.sampled_from([None, any_moment(drawn.layer)]))
    weight = drawn.weight(moment)
    if not np.isfinite(case.form.errors(weight, np.array([ranks]))).all():
        return  # a CP without a fit
    built = build(case.form, drawn.module, weight, ranks)
    dense = with_full_kernel(drawn, reconstruct(built))
    with torch.no_grad():
        assert relative_difference(built(drawn.example), dense(drawn.example)) < 1e-10


def with_full_kernel(drawn: DrawnLayer, kernel: torch.Tensor) -> nn.Module:
    """The layer without groups and with this weight."""
    dense = copy.deepcopy(drawn.module)
    if not isinstance(dense, nn.Linear):
        dense.groups = 1
    swapped = kernel.transpose(0, 1) if isinstance(dense, nn.ConvTranspose2d) else kernel
    dense.weight = nn.Parameter(swapped.contiguous())
    return dense


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.full], ids=lambda case: case.form.name)
@pytest.mark.parametrize("whitened", [False, True], ids=["plain", "whitened"])
@some_geometries
@given(data=st.data())
def test_at_full_rank_the_module_is_the_original_layer(case: FormCase, whitened: bool, data: st.DataObject) -> None:
    """Not promised by CP: alternating least squares may stop short of an exact fit."""
    drawn = data.draw(case.layers)
    assert case.full is not None
    weight = drawn.weight(any_moment(drawn.layer) if whitened else None)
    ranks = case.full(drawn.layer)
    built = build(case.form, drawn.module, weight, ranks)
    assert case.form.errors(weight, np.array([ranks]))[0] <= 1e-11 * weight.energy
    with torch.no_grad():
        assert relative_difference(built(drawn.example), drawn.module(drawn.example)) < 1e-5


@pytest.mark.parametrize("name", [name for name in CASES if name != "svd"])
@some_geometries
@given(data=st.data())
def test_a_grouped_convolution_is_the_sum_of_the_problems_of_its_groups(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    drawn = data.draw(case.layers.filter(lambda found: found.layer.groups > 1))
    layer, ranks = drawn.layer, case.form.candidates(drawn.layer)
    drawn_moment = any_moment(layer)
    equal = drawn_moment / drawn_moment.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]  # one scale, one ridge
    moment = data.draw(st.sampled_from([None, equal]))
    alone = Layer("one", layer.kind, *layer.group_channels, layer.kernel)
    total = np.zeros(len(ranks))
    for group, block in enumerate(drawn.weight().plain):
        wanted = block.transpose(0, 1) if layer.transposed else block
        twin = lone(drawn.module, alone, wanted.reshape(alone.shape))
        total += case.form.errors(twin.weight(None if moment is None else moment[group, None]), ranks)
    tiny = 1e-10 * drawn.weight(moment).energy
    np.testing.assert_allclose(case.form.errors(drawn.weight(moment), ranks), total, rtol=1e-6, atol=tiny)


def lone(module: nn.Module, layer: Layer, weight: torch.Tensor) -> DrawnLayer:
    kind: Callable[..., nn.modules.conv._ConvNd] = type(module)  # type: ignore[assignment]
    twin = kind(layer.in_channels, layer.out_channels, layer.kernel)
    twin.weight = nn.Parameter(weight.clone())
    return DrawnLayer(twin, torch.empty(0), layer)


LINEAR, POINTWISE = nn.Linear(4, 4), nn.Conv2d(4, 4, 1)


@pytest.mark.parametrize(
    ("form", "module", "reason"),
    [
        ("tucker2", LINEAR, "tucker2 is for convolutions"),
        ("tucker2", POINTWISE, "the tucker2 of a 1x1 convolution is its SVD: use the form svd"),
        ("tensor_train", LINEAR, "tensor_train is for convolutions"),
        ("tensor_train", nn.Conv3d(4, 4, 1), "the tensor_train of a 1x1 convolution is its SVD: use the form svd"),
        ("cp", LINEAR, "cp is for convolutions"),
        ("cp", POINTWISE, "the CP of a 1x1 convolution is its SVD: use the form svd"),
        ("svd", nn.Conv2d(4, 4, (3, 2)), "svd is for linear layers and 1x1 convolutions, this kernel is 3x2"),
        ("svd", nn.Conv1d(4, 4, 3), "svd is for linear layers and 1x1 convolutions, this kernel is 3"),
        ("svd_channel", LINEAR, "svd_channel is for convolutions"),
        ("svd_channel", POINTWISE, "the channel split of a 1x1 convolution is its SVD: use the form svd"),
        ("svd_spatial", LINEAR, "svd_spatial is for two-dimensional convolutions"),
        ("svd_spatial", nn.Conv1d(4, 4, 3), "svd_spatial is for two-dimensional convolutions"),
        ("svd_spatial", nn.Conv3d(4, 4, 3), "svd_spatial is for two-dimensional convolutions"),
        (
            "svd_spatial",
            nn.Conv2d(4, 4, (1, 3)),
            "svd_spatial needs a kernel longer than 1 on both axes, this one is 1x3",
        ),
        ("svd_grouped", LINEAR, "svd_grouped is for convolutions"),
    ],
)
def test_a_form_says_why_it_does_not_apply(form: str, module: nn.Module, reason: str) -> None:
    assert CASES[form].form.why_not(Layer.of("layer", module)) == reason
