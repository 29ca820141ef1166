"""Nests: how networks are called with them, their tensors in order, and one line for what is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rank_search.errors import DataError, InvalidInputError
from rank_search.nests import call, check_nest, described, held, leaves, mapped


class Recorder(nn.Module):
    """Puts out how it was called."""

    def forward(self, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs


A, B, C = torch.zeros(3, 2), torch.ones(3), torch.arange(12).view(3, 2, 2)


def test_a_tensor_is_the_only_argument() -> None:
    args, kwargs = call(Recorder(), A)
    assert len(args) == 1
    assert args[0] is A
    assert kwargs == {}


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_tuple_or_list_is_the_arguments_in_their_order(kind: type) -> None:
    args, kwargs = call(Recorder(), kind([B, A]))
    assert len(args) == 2
    assert args[0] is B
    assert args[1] is A
    assert kwargs == {}


def test_a_mapping_is_the_arguments_by_name() -> None:
    args, kwargs = call(Recorder(), {"b": B, "a": A})
    assert args == ()
    assert list(kwargs) == ["b", "a"]
    assert kwargs["a"] is A


def test_inner_nests_reach_the_network_as_they_are() -> None:
    args, _ = call(Recorder(), (A, {"x": B, "y": (C,)}))
    assert args[1]["x"] is B
    assert args[1]["y"][0] is C


def test_all_tensors_are_found_in_order() -> None:
    found = leaves({"one": C, "two": (A, [B, {"x": A}])})
    assert [id(tensor) for tensor in found] == [id(C), id(A), id(B), id(A)]
    assert [id(tensor) for tensor in leaves(A)] == [id(A)]


def test_a_function_is_applied_to_every_tensor_and_the_shape_stays() -> None:
    nest = {"one": A, "two": (B, [C])}

    def first(tensor: Tensor) -> Tensor:
        return tensor[:1] + 1

    new: Any = mapped(nest, first)
    assert list(new) == ["one", "two"]
    assert isinstance(new["two"], tuple)
    assert isinstance(new["two"][1], list)
    assert new["one"].tolist() == [[1.0, 1.0]]
    assert new["two"][0].tolist() == [2.0]
    assert new["two"][1][0].tolist() == [[[1, 2], [3, 4]]]
    assert A.shape == (3, 2)


def test_a_description_names_every_shape_and_key() -> None:
    text = described({"one": A, "two": (B, C)})
    for part in ("one", "two", "[3, 2]", "[3]", "[3, 2, 2]"):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize("nest", [A, (A, B), [B], {"a": A, "b": (B, {"c": C})}])
def test_the_number_of_samples_is_the_common_first_dimension(nest: Any) -> None:
    assert check_nest(nest, "the inputs") == 3


@pytest.mark.parametrize(
    ("nest", "words"),
    [
        ((A, B[:2]), "[2]"),
        ({"a": A, "b": {"c": C[:1]}}, "[1, 2, 2]"),
        ((), "no tensor"),
        ({}, "no tensor"),
        ({"a": ()}, "no tensor"),
        ("text", "str"),
        ((A, 3), "int"),
        ((A, None), "None"),
        (None, "None"),
        (A.numpy(), "ndarray"),
        (torch.tensor(1.0), "[]"),
        ((A, torch.tensor(1.0)), "[]"),
    ],
)
@pytest.mark.parametrize("error", [InvalidInputError, DataError])
def test_what_is_no_nest_of_samples_is_one_line_of_the_class_that_was_asked_for(
    nest: Any, words: str, error: type[InvalidInputError]
) -> None:
    with pytest.raises(error) as caught:
        check_nest(nest, "the inputs", error)
    assert type(caught.value) is error
    assert "the inputs" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_any_value_holds_is_found_in_order_and_as_deep_as_asked() -> None:
    class Thing:
        def __init__(self) -> None:
            self.inner = torch.ones(1)

    one, two, three = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    value = {"a": [one, "text", (two,)], "b": None, "c": Thing(), "d": three}
    assert [len(tensor) for tensor in held(value)] == [1, 2, 3]
    assert [len(tensor) for tensor in held(value, inside=lambda item: isinstance(item, Thing))] == [1, 2, 1, 3]
    assert [len(tensor) for tensor in held(value, depth=1)] == [3]
    assert list(held(value, kinds=(str,))) == ["text"]
