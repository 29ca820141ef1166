"""TensorData: nests of tensors in batches, fixed subsets, and one line for every set that is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rank_search import TensorData
from rank_search.errors import DataError
from rank_search.task.batch import Batch

COUNT = 13


def numbers(count: int = COUNT) -> Tensor:
    return torch.arange(float(count))


def pair(count: int = COUNT, kind: str = "tensor") -> tuple[Any, Any]:
    """Inputs and targets in which sample i holds i, 100 + i and 10 * i."""
    one, two, target = numbers(count)[:, None], numbers(count)[:, None, None] + 100, numbers(count) * 10
    inputs: Any = {"tensor": one, "tuple": (one, two), "dict": {"one": one, "two": two}}[kind]
    return inputs, target


def first(inputs: Any) -> Tensor:
    found: Tensor = inputs["one"] if isinstance(inputs, dict) else inputs[0] if isinstance(inputs, tuple) else inputs
    return found.flatten()


def second(inputs: Any) -> Tensor | None:
    found = inputs["two"] if isinstance(inputs, dict) else inputs[1] if isinstance(inputs, tuple) else None
    return None if found is None else found.flatten()


def check_together(batch: Batch) -> None:
    """Input, second input and target are of one sample."""
    assert isinstance(batch.targets, Tensor)
    assert torch.equal(batch.targets, first(batch.inputs) * 10)
    other = second(batch.inputs)
    assert other is None or torch.equal(other, first(batch.inputs) + 100)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict"])
@pytest.mark.parametrize("size", [1, 4, 13, 50])
def test_batches_keep_the_order_and_the_last_may_be_smaller(kind: str, size: int) -> None:
    data = TensorData(pair(kind=kind), pair(5, kind))
    batches = list(data.batches(data.train, size))
    whole = [size] * (COUNT // size) + [COUNT % size] * bool(COUNT % size)
    assert [batch.samples for batch in batches] == whole
    assert [int(i) for batch in batches for i in first(batch.inputs)] == list(range(COUNT))
    for batch in batches:
        check_together(batch)
    assert [int(i) for batch in data.batches(data.validation, 2) for i in first(batch.inputs)] == list(range(5))


@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict"])
@pytest.mark.parametrize(
    ("size", "sizes"), [(4, [4, 4, 5]), (5, [5, 5, 3]), (6, [6, 7]), (12, [13]), (2, [2] * 5 + [3])]
)
def test_an_epoch_has_every_sample_once_and_a_single_one_joins_the_batch_before(
    kind: str, size: int, sizes: list[int]
) -> None:
    data = TensorData(pair(kind=kind), pair(5, kind))
    batches = list(data.train_batches(size, generator()))
    assert [batch.samples for batch in batches] == sizes
    seen = [int(i) for batch in batches for i in first(batch.inputs)]
    assert seen != list(range(COUNT))
    assert sorted(seen) == list(range(COUNT))
    for batch in batches:
        check_together(batch)


def test_the_order_is_drawn_from_the_generator_and_from_nothing_else() -> None:
    data = TensorData(pair(), pair(5))

    def order(draws: torch.Generator) -> list[int]:
        return [int(i) for batch in data.train_batches(4, draws) for i in first(batch.inputs)]

    torch.manual_seed(0)
    one = order(generator(3))
    torch.manual_seed(9)
    assert order(generator(3)) == one
    assert order(generator(4)) != one
    going_on = generator(3)
    assert order(going_on) == one
    assert order(going_on) != one


def test_batches_are_of_the_kind_that_was_given_and_in_its_dtypes() -> None:
    inputs = {"ids": torch.arange(6)[:, None], "mask": torch.ones(6, 1, dtype=torch.bool)}
    data = TensorData((inputs, None), (inputs, None))
    for batch in (next(iter(data.batches(data.train, 4))), next(iter(data.train_batches(4, generator())))):
        assert batch.targets is None
        assert batch.samples == 4
        assert isinstance(batch.inputs, dict)
        assert list(batch.inputs) == ["ids", "mask"]
        assert [value.dtype for value in batch.inputs.values() if isinstance(value, Tensor)] == [
            torch.int64,
            torch.bool,
        ]


def test_targets_may_be_a_nest() -> None:
    targets = {"boxes": numbers()[:, None].expand(COUNT, 4), "labels": torch.arange(COUNT)}
    data = TensorData((numbers()[:, None], targets), (numbers()[:, None], targets))
    for batch in data.train_batches(4, generator()):
        assert isinstance(batch.targets, dict)
        labels = batch.targets["labels"]
        assert isinstance(labels, Tensor)
        assert labels.tolist() == first(batch.inputs).tolist()


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_1_is_a_data_error(size: int) -> None:
    data = TensorData(pair(), pair(5))
    with pytest.raises(DataError, match=str(size)):
        list(data.batches(data.train, size))


def test_training_on_single_samples_is_a_data_error() -> None:
    with pytest.raises(DataError):
        list(TensorData(pair(), pair(5)).train_batches(1, generator()))
    with pytest.raises(DataError):
        list(TensorData(pair(1), pair(5)).train_batches(4, generator()))


# -- sets --------------------------------------------------------------------------------------------------------------


def test_the_sets_keep_what_they_were_given_and_the_test_set_can_be_dropped() -> None:
    data = TensorData(pair(), pair(5), pair(3))
    assert (len(data.train), len(data.validation)) == (13, 5)
    assert data.test is not None
    assert len(data.test) == 3
    hidden = data.without_test()
    assert hidden.test is None
    assert (len(hidden.train), len(hidden.validation)) == (13, 5)
    assert data.test is not None
    assert TensorData(pair(), pair(5)).test is None


def test_an_example_is_one_sample_of_zeros() -> None:
    example: Any = TensorData(pair(kind="dict"), pair(5, "dict")).example()
    assert list(example) == ["one", "two"]
    assert example["one"].tolist() == [[0.0]]
    assert example["two"].shape == (1, 1, 1)


def classes(labels: list[int]) -> TensorData:
    count = len(labels)
    one = (numbers(count)[:, None], torch.tensor(labels))
    return TensorData(one, one)


@pytest.mark.parametrize(("n", "wanted"), [(3, [1, 1, 1]), (6, [2, 2, 2]), (9, [4, 3, 2]), (12, [7, 3, 2])])
def test_a_subset_of_classes_has_equally_many_of_each_while_they_last(n: int, wanted: list[int]) -> None:
    subset = classes([0] * 20 + [1] * 3 + [2] * 2).train.subset(n, seed=0)
    assert isinstance(subset.targets, Tensor)
    assert len(subset) == n
    assert torch.bincount(subset.targets, minlength=3).tolist() == wanted


@pytest.mark.parametrize("kind", ["classes", "numbers", "none"])
def test_a_smaller_subset_is_part_of_a_larger_one_and_the_seed_draws_it(kind: str) -> None:
    labels: Any = {"classes": torch.arange(40) % 3, "numbers": numbers(40), "none": None}[kind]
    data = TensorData((numbers(40)[:, None], labels), (numbers(40)[:, None], labels))

    def members(n: int, seed: int = 5) -> set[int]:
        subset = data.train.subset(n, seed)
        assert len(subset) == n
        assert isinstance(subset.inputs, Tensor)
        found = {int(i) for i in subset.inputs.flatten()}
        assert len(found) == n
        return found

    for n in range(1, 40):
        assert members(n) < members(n + 1)
    assert members(10) == members(10)
    assert members(10) != members(10, seed=6)
    assert members(10) != set(range(10))


@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict"])
def test_inputs_and_targets_of_a_subset_belong_together(kind: str) -> None:
    data = TensorData(pair(kind=kind), pair(5, kind))
    subset = data.train.subset(6, 0)
    assert len(first(subset.inputs)) == 6
    check_together(Batch(subset.inputs, subset.targets))


@pytest.mark.parametrize("n", [COUNT, COUNT + 1, 1000])
def test_a_subset_that_is_not_smaller_holds_every_sample(n: int) -> None:
    subset = TensorData(pair(), pair(5)).train.subset(n, 0)
    assert sorted(int(i) for i in first(subset.inputs)) == list(range(COUNT))


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (3, -1), (3, 2**32)])
def test_a_subset_of_nothing_or_of_a_bad_seed_is_a_data_error(n: int, seed: int) -> None:
    with pytest.raises(DataError):
        TensorData(pair(), pair(5)).train.subset(n, seed)


def test_many_different_whole_numbers_are_no_classes_but_still_make_a_subset() -> None:
    subset = classes(list(range(30))).train.subset(7, 0)
    assert len(set(subset.targets.tolist())) == 7


# -- sets that are none ------------------------------------------------------------------------------------------------

X, Y = numbers()[:, None], numbers()
GOOD = (X, Y)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (((X, Y[:4]), GOOD), ["13", "4"]),
        ((GOOD, (X[:4], Y)), ["13", "4"]),
        ((((X, X[:4]), Y), ((X, X), Y)), ["[13, 1]", "[4, 1]"]),
        ((({"a": X, "b": X[:4]}, Y), ({"a": X, "b": X}, Y)), ["a", "b", "[4, 1]"]),
        (((X, {"a": Y, "b": Y[:4]}), (X, {"a": Y, "b": Y})), ["[4]"]),
        (((X[:0], Y[:0]), GOOD), ["train"]),
        ((GOOD, (X[:0], Y[:0])), ["validation"]),
        ((GOOD, GOOD, (X[:0], Y[:0])), ["test"]),
        ((((), Y), GOOD), ["no tensor"]),
        ((({}, Y), GOOD), ["no tensor"]),
        (((X, "labels"), GOOD), ["str"]),
        (((X.numpy(), Y), GOOD), ["ndarray"]),
        (((X, [1, 2, 3]), GOOD), ["int"]),
        ((X, GOOD), ["train", "pair"]),
        ((GOOD, (X, Y, Y)), ["validation", "pair"]),
        ((GOOD, (X,)), ["validation", "pair"]),
        ((GOOD, None), ["validation", "pair"]),
        ((GOOD, "data"), ["validation", "pair"]),
        ((GOOD, GOOD, 3), ["test", "pair"]),
        ((GOOD, ({"a": X}, Y)), ["validation", "train"]),
        ((GOOD, ((X, X), Y)), ["validation", "train"]),
        ((({"a": X}, Y), ({"b": X}, Y)), ["a", "b"]),
        ((GOOD, (X, None)), ["validation", "train"]),
        (((X, None), GOOD), ["validation", "train"]),
        ((GOOD, GOOD, (X, None)), ["test", "train"]),
        ((GOOD, (X, torch.arange(COUNT))), ["int64", "float32"]),
        ((GOOD, (X.double(), Y)), ["float64", "float32"]),
    ],
)
def test_sets_that_are_none_or_differ_are_one_line_that_says_which(sets: tuple[Any, ...], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        TensorData(*sets)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
