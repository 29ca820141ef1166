"""Second moments of layer inputs: against sums written out one position at a time, and a model left as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import (
    CONV_NET_INPUT,
    FRAMES_INPUT,
    SHAPED_INPUT,
    TINY_INPUT,
    ZOO_INPUT,
    ConvNet,
    Frames,
    Shaped,
    Tiny,
    Zoo,
)
from torch import Tensor, nn

from rank_search.errors import CovarianceError
from rank_search.space import RankSpace, input_covariances
from rank_search.space.layers.layer import KINDS

NETS = {
    "conv": (ConvNet, CONV_NET_INPUT),
    "frames": (Frames, FRAMES_INPUT),
    "tokens and calls": (Shaped, SHAPED_INPUT),
    "zoo": (Zoo, ZOO_INPUT),
}
every_net = pytest.mark.parametrize("net", NETS)


def batches(shape: tuple[int, ...], *sizes: int) -> list[Tensor]:
    return [torch.randn(size, *shape[1:]) + 0.5 for size in sizes]


def vectors(module: nn.Module, inputs: Tensor) -> Iterator[Tensor]:
    """The input of a layer at every sample and position, ``[Ci]`` each."""
    axes = {nn.Linear: 0, nn.Conv1d: 1, nn.Conv3d: 3}.get(type(module), 2)
    channel = inputs.ndim - 1 - axes
    for flat in range(inputs.numel() // inputs.shape[channel]):
        index: list[Any] = []
        for axis in reversed([axis for axis in range(inputs.ndim) if axis != channel]):
            flat, at = divmod(flat, inputs.shape[axis])
            index.insert(0, at)
        index.insert(channel, slice(None))
        yield inputs[tuple(index)].double()


def by_hand(model: nn.Module, examples: list[Tensor]) -> dict[str, Tensor]:
    """``E[x x^T]`` per group, one outer product at a time."""
    seen: dict[str, list[Tensor]] = {}
    handles = []
    for name, module in model.named_modules():
        if type(module) in KINDS:
            hook = lambda module, inputs, output, name=name: seen.setdefault(name, []).append(inputs[0])  # noqa: E731
            handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        for example in examples:
            model(example)
    for handle in handles:
        handle.remove()
    found = {}
    for name, inputs in seen.items():
        module = model.get_submodule(name)
        every = [x for one in inputs for x in vectors(module, one)]
        parts = [torch.stack(every).chunk(getattr(module, "groups", 1), dim=1)][0]
        found[name] = torch.stack([sum(torch.outer(x, x) for x in part) / len(part) for part in parts])  # type: ignore[misc]
    return found


@every_net
def test_it_is_the_mean_outer_product_over_samples_positions_tokens_and_calls(net: str) -> None:
    kind, shape = NETS[net]
    model, examples = kind().eval(), batches(shape, 2, 1)
    found, wanted = input_covariances(model, examples), by_hand(model, examples)
    assert found.keys() == wanted.keys()
    for name, moment in found.items():
        module = model.get_submodule(name)
        groups = getattr(module, "groups", 1)
        into = module.in_features if isinstance(module, nn.Linear) else module.in_channels
        assert moment.dtype == torch.float64
        assert moment.shape == (groups, into // groups, into // groups)
        torch.testing.assert_close(moment, wanted[name], rtol=1e-4, atol=1e-6)


class Normed(nn.Module):
    """Layers whose output a batch norm takes, takes only sometimes, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)
        self.second, self.relu = nn.Conv2d(6, 6, 1), nn.ReLU(inplace=True)
        self.both = nn.Conv2d(6, 6, 1)
        self.head, self.last = nn.Linear(6, 3), nn.BatchNorm1d(3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.norm(self.first(images)))
        features = self.norm(self.both(self.relu(self.second(features))))
        features = self.both(features)
        logits: Tensor = self.last(self.head(features.mean((2, 3))))
        return logits


def test_centred_are_the_layers_whose_every_output_a_batch_norm_takes() -> None:
    model, examples = Normed().eval(), batches((1, 4, 6, 6), 3, 2)
    plain, centred = input_covariances(model, examples), input_covariances(model, examples, centred=True)
    assert {name for name in plain if not torch.equal(plain[name], centred[name])} == {"first", "head"}
    every = torch.stack([vector for example in examples for vector in vectors(model.first, example)])
    wanted = torch.stack([torch.cov(part.T, correction=0) for part in every.chunk(2, dim=1)])
    torch.testing.assert_close(centred["first"], wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("inputs", [torch.randn(600, 4) + 1000, torch.randn(1, 4)], ids=["large mean", "one sample"])
def test_what_cancels_in_centring_leaves_a_usable_metric(inputs: Tensor) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    moments = input_covariances(model, [inputs], centred=True)
    if len(inputs) > 1:
        wanted = torch.cov(inputs.double().T, correction=0)
        torch.testing.assert_close(moments["0"][0], wanted, rtol=1e-4, atol=1e-4)
    space = RankSpace.from_model(model, inputs, forms=["svd"], covariances=moments)
    assert np.isfinite(space.relative_errors()[0]).all()


def test_only_the_named_layers_are_measured() -> None:
    model, examples = Normed().eval(), batches((1, 4, 6, 6), 3)
    assert input_covariances(model, examples, names=["second"]).keys() == {"second"}


def test_a_layer_that_is_called_by_keyword_is_measured_too() -> None:
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            found: Tensor = self.b(input=self.a(inputs))
            return found

    model, rows = Keyword(), torch.randn(3, 4)
    with torch.no_grad():
        given = model.a(rows).double()
    torch.testing.assert_close(input_covariances(model, [rows])["b"], (given.T @ given / 3)[None])


def test_a_layer_that_no_batch_runs_is_missing() -> None:
    found = input_covariances(Zoo(), batches(ZOO_INPUT, 1))
    assert "idle" not in found
    assert {"plain", "grouped", "upward", "series"} <= set(found)
    assert not {"own", "rise"} & set(found)  # of no known kind


@every_net
def test_batches_of_unequal_size_count_by_their_samples(net: str) -> None:
    kind, shape = NETS[net]
    model, everything = kind(), torch.cat(batches(shape, 6))
    whole, parts = input_covariances(model, [everything]), input_covariances(model, iter(everything.split([1, 3, 2])))
    assert whole.keys() == parts.keys()
    for name, moment in whole.items():
        torch.testing.assert_close(parts[name], moment, rtol=1e-5, atol=1e-7)


def state(model: nn.Module) -> list[Any]:
    """Modes, hooks and gradients switches of all parts."""
    hooks = [(list(part._forward_hooks), list(part._forward_pre_hooks)) for part in model.modules()]
    return [hooks, [part.training for part in model.modules()], [p.requires_grad for p in model.parameters()]]


@pytest.mark.parametrize("fails", [False, True], ids=["runs", "fails"])
def test_the_model_is_left_as_it_was_and_runs_in_evaluation_mode(fails: bool) -> None:
    model = ConvNet().train()
    model.wide.eval()
    model.stem.weight.requires_grad_(False)
    modes: list[bool] = []
    model.head.register_forward_hook(lambda module, *_: modes.append(module.training))
    before, weights = state(model), copy.deepcopy(model.state_dict())
    examples = batches(CONV_NET_INPUT, 2, 2)
    if fails:
        with pytest.raises(CovarianceError):
            input_covariances(model, [*examples, torch.randn(2, 3, 9, 11)])
    else:
        found = input_covariances(model, examples)
        assert not any(moment.requires_grad for moment in found.values())
    assert modes == [False, False]
    assert state(model) == before
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert torch.is_grad_enabled()


def test_without_a_batch_there_is_a_readable_error() -> None:
    with pytest.raises(CovarianceError, match="there is no calibration batch: give at least one"):
        input_covariances(Tiny(), [])


def test_a_batch_the_model_cannot_run_is_named_by_its_shape_in_one_line() -> None:
    with pytest.raises(CovarianceError) as caught:
        input_covariances(Tiny(), [torch.randn(TINY_INPUT), torch.randn(4, 3, 6, 6)])
    assert "the model cannot run the calibration batch of shape [4, 3, 6, 6]: RuntimeError: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_sums_are_still_right(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 4)).to(dtype)
    moment = input_covariances(model, [torch.full((500, 4), 30.0, dtype=dtype)])["0"]
    torch.testing.assert_close(moment, torch.full((1, 4, 4), 900.0).double(), rtol=0.02, atol=0)
