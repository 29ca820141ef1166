"""The trace: sizes and costs as torch counts them, a reason for each layer left out, and a model left as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from measured import macs
from small_nets import CONV_NET_INPUT, SHAPED_INPUT, ZOO_INPUT, ConvNet, Shaped, Zoo
from torch import Tensor, nn

from rank_search.errors import InvalidInputError
from rank_search.space.layers.counting import count_macs
from rank_search.space.layers.trace import trace
from rank_search.space.metrics.params import Params


def test_the_dense_macs_are_what_torch_counts() -> None:
    for model, shape in ((ConvNet(), CONV_NET_INPUT), (Zoo(), ZOO_INPUT), (Shaped(), SHAPED_INPUT)):
        example = torch.randn(shape)
        assert count_macs(model, example) == macs(model, example)


def test_only_the_first_sample_counts() -> None:
    example = torch.randn(5, *CONV_NET_INPUT[1:])
    assert trace(ConvNet(), example) == trace(ConvNet(), example[:1])


class Replay(nn.Module):
    """Gives out what a layer computed earlier, without its multiply-adds."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, features: Tensor) -> Tensor:
        return self.outputs.pop(0)


@pytest.mark.parametrize(("model", "shape"), [(ConvNet(), CONV_NET_INPUT), (Shaped(), SHAPED_INPUT)])
def test_the_macs_of_each_layer_are_what_torch_counts_less_without_it(model: nn.Module, shape: tuple[int, ...]) -> None:
    example = torch.randn(shape)
    traced = trace(model, example)
    assert traced.layers
    for name, layer in traced.layers.items():
        without = copy.deepcopy(model)
        outputs: list[Tensor] = []
        without.get_submodule(name).register_forward_hook(lambda _, inputs, output, to=outputs: to.append(output))
        with torch.no_grad():
            without.eval()(example)
        without.set_submodule(name, Replay(outputs))
        assert layer.dense_macs == macs(model, example) - macs(without, example)
        assert layer.dense_params == model.get_submodule(name).weight.numel()
        assert layer.shape == tuple(model.get_submodule(name).weight.shape)


def test_calls_tokens_and_samples_folded_into_the_batch_are_all_counted() -> None:
    layers = trace(Shaped(), torch.randn(SHAPED_INPUT)).layers
    assert layers["tokens"].dense_macs == 7 * 12 * 10
    assert layers["twice"].dense_macs == 2 * 7 * 10 * 10
    assert len(layers["twice"].calls) == 2
    assert layers["folded"].dense_macs == 7 * 10 * 16
    assert layers["frames"].dense_macs == 7 * (1 * 2) * 4 * 6 * 2
    assert layers["unbatched"].dense_macs == (6 * 2) * 6 * 6 * 2


def test_a_module_under_two_names_is_one_layer() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    traced = trace(model, torch.randn(1, 4))
    assert list(traced.layers) == ["0"]
    assert traced.layers["0"].dense_macs == 2 * 16
    assert Params().measure(model, torch.randn(1, 4)) == 20
    assert count_macs(model, torch.randn(1, 4)) == 32


def test_a_model_that_is_itself_one_layer() -> None:
    assert trace(nn.Linear(4, 3), torch.randn(1, 5, 4)).layers[""].dense_macs == 5 * 12


def test_every_layer_left_out_has_its_reason() -> None:
    traced = trace(Zoo(), torch.randn(ZOO_INPUT))
    assert list(traced.layers) == ["plain", "grouped", "pointwise", "upward", "small", "narrow", "series"]
    assert traced.skipped == {
        "depthwise": "depthwise: nothing to gain in the channel modes",
        "own": "Padded layers are not supported",
        "rise": "ConvTranspose1d layers are not supported",
        "tied": "its weight or bias is shared with 'embedding'",
        "one": "its weight or bias is shared with 'other'",
        "other": "its weight or bias is shared with 'one'",
        "attention": "packed attention projections (in_proj_weight) are not decomposed",
        "attention.out_proj": "NonDynamicallyQuantizableLinear layers are not supported",
        "idle": "the example input does not run it",
    }


def test_layers_whose_weights_torchs_fast_path_reads_are_left_out() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    traced = trace(nn.Sequential(encoder, nn.Linear(8, 8)), torch.randn(1, 3, 8))
    assert list(traced.layers) == ["1"]
    assert traced.skipped["0.linear1"] == "nn.TransformerEncoderLayer reads its weight directly"
    assert traced.skipped["0.linear2"] == "nn.TransformerEncoderLayer reads its weight directly"


def test_a_layer_with_a_parametrised_weight_is_left_out() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8))
    assert list(trace(model, torch.randn(1, 8)).layers) == ["1"]


class Stubborn(nn.Module):
    """A forward that raises an error of two lines."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.dropout = nn.Dropout()

    def forward(self, features: Tensor) -> Tensor:
        raise RuntimeError(f"cannot run\n  {self.layer(features).shape}")


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (nn.Sequential(nn.Linear(4, 4)), torch.randn(1, 5)),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 2, 2)),
        (nn.Sequential(nn.Linear(4, 4).double()), torch.randn(1, 4)),
        (Stubborn(), torch.randn(1, 4)),
    ],
)
def test_an_example_the_model_cannot_run_is_one_readable_line(model: nn.Module, example: Tensor) -> None:
    with pytest.raises(InvalidInputError) as caught:
        trace(model, example)
    assert "\n" not in str(caught.value)
    assert f"cannot run an input of shape {list(example.shape)}" in str(caught.value)
    assert "Error: " in str(caught.value)


@pytest.mark.parametrize("example", [torch.randn(0, 4), torch.tensor(1.0)])
def test_an_example_without_a_sample_is_refused(example: Tensor) -> None:
    with pytest.raises(InvalidInputError, match="at least 1 sample"):
        trace(nn.Sequential(nn.Linear(4, 4)), example)


def hooks(module: nn.Module) -> list[tuple[Any, ...]]:
    return [
        (list(part._forward_hooks), list(part._forward_pre_hooks), list(part._backward_hooks))
        for part in module.modules()
    ]


@pytest.mark.parametrize("model", [ConvNet(), Stubborn()], ids=["runs", "fails"])
def test_the_model_is_left_as_it_was(model: nn.Module) -> None:
    model.train()
    next(iter(model.children())).eval()  # a frozen part
    seen: list[str] = []
    model.register_forward_hook(lambda *_: seen.append("mine"))
    modes, before = [part.training for part in model.modules()], copy.deepcopy(model.state_dict())
    attached, random = hooks(model), torch.get_rng_state()
    try:
        trace(model, torch.randn(CONV_NET_INPUT, generator=torch.Generator()))
    except InvalidInputError:
        assert isinstance(model, Stubborn)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert hooks(model) == attached
    assert torch.equal(torch.get_rng_state(), random)


def test_attention_is_counted_although_it_is_fused_and_not_decomposed() -> None:
    """Four projections of E x E for each of L tokens, then scores and their sums of values: L x L x E each."""
    length, width = 5, 8

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

        def forward(self, tokens: Tensor) -> Tensor:
            attended: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
            return attended

    fast = torch.backends.mha.get_fastpath_enabled()
    found = count_macs(Attending(), torch.randn(1, length, width))
    assert found == 4 * width * width * length + 2 * length * length * width
    assert torch.backends.mha.get_fastpath_enabled() == fast
