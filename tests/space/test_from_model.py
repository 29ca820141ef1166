"""Which layers and forms enter a space, and what is told about those that do not."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from measured import cost, params
from small_nets import CONV_NET_INPUT, TINY_INPUT, ZOO_INPUT, ConvNet, Tiny, Zoo
from torch import Tensor, nn

from rank_search.errors import InvalidInputError, LayerSelectionError, UnknownNameError, WeightsError
from rank_search.space import Choice, RankPlan, RankSpace, register_decomposition
from rank_search.space.forms.decomposition import decompositions
from rank_search.space.forms.svd import SVD
from rank_search.space.layers.layer import Layer


def space_of(model: nn.Module, shape: tuple[int, ...], *forms: str) -> RankSpace:
    return RankSpace.from_model(model, torch.randn(shape), forms=forms or ("tucker2", "svd"))


def test_every_layer_is_in_the_space_or_has_a_reason() -> None:
    space = space_of(Zoo(), ZOO_INPUT)
    assert list(space.dense) == ["plain", "grouped", "pointwise", "upward", "small"]
    assert space.skipped["narrow"] == "no tucker2 is cheaper than the dense layer"
    assert space.skipped["series"] == "no svd is cheaper than the dense layer"
    assert set(space.skipped) == {
        "depthwise",
        "narrow",
        "own",
        "series",
        "rise",
        "tied",
        "one",
        "other",
        "attention",
        "attention.out_proj",
        "idle",
    }


def test_a_form_that_does_not_apply_says_which_would() -> None:
    skipped = space_of(Zoo(), ZOO_INPUT, "tucker2").skipped
    assert skipped["pointwise"] == "the tucker2 of a 1x1 convolution is its SVD: use the form svd"
    skipped = space_of(ConvNet(), CONV_NET_INPUT, "cp", "tucker2").skipped
    assert skipped["head"] == "cp is for convolutions; tucker2 is for convolutions"


def test_patterns_choose_among_the_layers() -> None:
    model, example = ConvNet(), torch.randn(CONV_NET_INPUT)
    space = RankSpace.from_model(model, example, include=["stem", "head"], exclude=["he*"])
    assert list(space.dense) == ["stem"]
    assert space.skipped["head"] == "excluded by 'he*'"
    assert space.skipped["wide"] == "matched by no include pattern"
    assert space.dense_cost == cost(model, example)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"include": ["layer9.*"]}, LayerSelectionError, "'layer9.*' matches no layer"),
        ({"exclude": ["hat"]}, LayerSelectionError, "did you mean 'head'"),
        ({"include": "stem"}, LayerSelectionError, "give a list of patterns"),
        ({"exclude": "stem"}, LayerSelectionError, "give a list of patterns"),
        ({"forms": "svd"}, LayerSelectionError, "forms is the text 'svd'; give a list"),
        ({"forms": []}, LayerSelectionError, "forms is empty"),
        ({"forms": ["tucker"]}, UnknownNameError, "did you mean 'tucker2'"),
        ({"include": ["depthwise"]}, LayerSelectionError, "no layer of ConvNet can be decomposed"),
        ({"exclude": ["*"]}, LayerSelectionError, "excluded by '*'"),
        (
            {"include": ["stem"], "forms": ["tucker2", "svd"]},
            LayerSelectionError,
            "the form 'svd' fits no layer of Con",
        ),
        ({"include": ["head"], "forms": ["svd", "cp"]}, LayerSelectionError, "cp is for convolutions): take it out"),
        ({"forms": [3]}, InvalidInputError, "the form 3 is neither a name nor {NAME: {OPTION: VALUE}}"),
        ({"forms": [{"cp": {}, "svd": {}}]}, InvalidInputError, "is neither a name nor {NAME: {OPTION: VALUE}}"),
        ({"forms": [{"cp": 4}]}, InvalidInputError, "the form {'cp': 4} is neither a name nor {NAME: {OPTION: VALUE}}"),
        ({"forms": [{"svd_grouped": {"group": [2]}}]}, InvalidInputError, "no option 'group' (did you mean 'groups'?)"),
        ({"forms": [{"svd": {"rank": 2}}]}, InvalidInputError, "no option 'rank'; its options: none"),
        (
            {"forms": [{"svd_grouped": {"groups": [5]}}]},
            LayerSelectionError,
            "svd_grouped groups 5 do not divide the 2 i",
        ),
        (
            {"forms": ["tucker2", {"svd_grouped": {"groups": [5]}}]},
            LayerSelectionError,
            "the form 'svd_grouped' fits no layer of ConvNet (svd_grouped groups 5 do not divide the 6 input channels",
        ),
        ({"forms": [{"svd_grouped": {"groups": [0]}}]}, InvalidInputError, "groups 0 is not allowed"),
        ({"multiple_of": 0}, InvalidInputError, "multiple_of=0 is not allowed: give a whole number from 1"),
        ({"multiple_of": 2.0}, InvalidInputError, "multiple_of=2.0 is not allowed"),
        ({"multiple_of": True}, InvalidInputError, "multiple_of=True is not allowed"),
        ({"max_options": 3}, InvalidInputError, "max_options=3 is not allowed: give a whole number from 4"),
        ({"max_options": True}, InvalidInputError, "max_options=True is not allowed"),
    ],
)
def test_a_selection_that_cannot_be_meant_is_an_error(
    options: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        RankSpace.from_model(ConvNet(), torch.randn(CONV_NET_INPUT), **options)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_form_named_twice_counts_once() -> None:
    example = torch.randn(TINY_INPUT)
    once = RankSpace.from_model(Tiny(), example, forms=["tucker2"])
    assert RankSpace.from_model(Tiny(), example, forms=["tucker2", "tucker2"]).size == once.size


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "no convolution and no linear layer"),
        (nn.Sequential(nn.ConvTranspose1d(3, 4, 1)), "0: ConvTranspose1d layers are not supported"),
    ],
)
def test_a_model_without_a_layer_to_decompose_is_an_error(model: nn.Module, words: str) -> None:
    with pytest.raises(LayerSelectionError, match=words):
        RankSpace.from_model(model, torch.randn(1, 3, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_with_the_layer_and_their_number(value: float) -> None:
    model = Tiny()
    with torch.no_grad():
        model.second.weight[0, 0] = value
    with pytest.raises(WeightsError, match=r"layer 'second' holds 2 weights that are NaN or infinite"):
        space_of(model, TINY_INPUT)
    example = torch.randn(TINY_INPUT)
    assert list(RankSpace.from_model(model, example, exclude=["second"]).dense) == ["first", "head"]


def test_an_example_that_the_model_cannot_run_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match=r"cannot run an input of shape \[1, 3, 6, 6\]"):
        space_of(Tiny(), (1, 3, 6, 6))


def test_a_model_that_is_itself_one_layer_has_a_space() -> None:
    model, example = nn.Linear(12, 10), torch.randn(1, 4, 12)
    space = RankSpace.from_model(model, example)
    plan = RankPlan({"": Choice("svd", (3,))})
    assert space.cost(plan) == cost(space.compress(model, plan), example) == {"params": 76, "macs": 4 * 66}


def test_the_weights_of_another_module_are_never_left_behind_uncounted() -> None:
    class Tied(nn.Module):
        """A language model's head that is its embedding."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.mix = nn.Embedding(20, 8), nn.Linear(8, 8)
            self.head = nn.Linear(8, 20, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> Tensor:
            logits: Tensor = self.head(self.mix(self.embedding(tokens)))
            return logits

    model, example = Tied(), torch.randint(20, (1, 5))
    space = RankSpace.from_model(model, example)
    assert "'embedding'" in space.skipped["head"]
    plan = RankPlan({"mix": Choice("svd", (2,))})
    assert space.cost(plan) == cost(space.compress(model, plan), example)


def test_a_transformer_runs_after_its_space_is_compressed() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder, self.head = encoder, decoder, nn.Linear(8, 8)

        def forward(self, tokens: Tensor) -> Tensor:
            logits: Tensor = self.head(self.decoder(tokens, self.encoder(tokens)))
            return logits

    model, example = Both().eval(), torch.randn(1, 5, 8)
    space = RankSpace.from_model(model, example)
    assert list(space.dense) == ["decoder.linear1", "decoder.linear2", "head"]
    plan = space.plan(np.array([1, 1, 1]))
    compressed = space.compress(model, plan).eval()
    with torch.no_grad():
        assert compressed(example).shape == (1, 5, 8)
    assert space.cost(plan)["params"] == params(compressed)


def test_making_a_space_changes_nothing_in_the_model() -> None:
    model = ConvNet().train()
    model.bn.eval()
    model.stem.weight.requires_grad_(False)
    modes, before = [part.training for part in model.modules()], copy.deepcopy(model.state_dict())
    parts = [id(part) for part in model.modules()]
    space = space_of(model, CONV_NET_INPUT)
    space.relative_errors()
    space.compress(model, space.plan(np.ones(len(space.layers), np.int64)))
    assert [id(part) for part in model.modules()] == parts
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()].count(False) == 1
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in model.modules())


def test_a_space_builds_with_the_options_its_forms_were_given() -> None:
    class Narrow(SVD):
        def __init__(self, top: int) -> None:
            self._top = top

        def candidates(self, layer: Layer) -> Any:
            return super().candidates(layer)[: self._top]

    register_decomposition("narrow")(Narrow)
    try:
        model = nn.Sequential(nn.Linear(9, 8))
        space = RankSpace.from_model(model, torch.randn(1, 9), forms=[{"narrow": {"top": 2}}])
        assert [len(options) for options in space.layers] == [3]
        small = space.compress(model, space.plan(np.array([2])))
        assert small(torch.randn(3, 9)).shape == (3, 8)
    finally:
        decompositions.unregister("narrow")
