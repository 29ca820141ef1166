"""Orders of samples: that they are permutations, fair at every length, and fixed by the seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rank_search.errors import DataError
from rank_search.task.data.sampling import Indices, at_most_per_class, balanced_order, stratified_order

LABELS = np.array([0] * 60 + [1] * 30 + [3] * 10, dtype=np.int64)
ORDERS = [balanced_order, stratified_order]


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_names_every_sample_once_and_depends_on_the_seed_alone(order: Callable[..., Indices]) -> None:
    first = order(LABELS, 0)
    assert sorted(first) == list(range(100))
    assert np.array_equal(first, order(LABELS, 0))
    assert not np.array_equal(first, order(LABELS, 1))


def test_every_beginning_of_a_balanced_order_is_as_balanced_as_the_classes_allow() -> None:
    chosen = LABELS[balanced_order(LABELS, 5)]
    for n in range(1, 101):
        counts = [int((chosen[:n] == label).sum()) for label in (0, 1, 3)]
        left = [size - count for size, count in zip((60, 30, 10), counts, strict=True)]
        assert all(other <= count + 1 for count, room in zip(counts, left, strict=True) if room for other in counts)


def test_every_beginning_of_a_stratified_order_has_the_shares_of_the_whole_to_within_one() -> None:
    chosen = LABELS[stratified_order(LABELS, 5)]
    for n in range(1, 101):
        for label, size in ((0, 60), (1, 30), (3, 10)):
            assert abs((chosen[:n] == label).sum() - n * size / 100) <= 1


def test_which_samples_of_a_class_come_first_is_random() -> None:
    first = [int(balanced_order(LABELS, seed)[0]) for seed in range(200)]
    assert len(set(first)) > 60  # of 100; by chance about 1 / 3 of each class


def test_at_most_so_many_per_class_takes_all_of_a_rare_one() -> None:
    chosen = at_most_per_class(LABELS, 20, seed=0)
    assert len(set(chosen.tolist())) == 50
    assert np.bincount(LABELS[chosen]).tolist() == [20, 20, 0, 10]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_cannot_take_is_refused(seed: int) -> None:
    with pytest.raises(DataError, match=f"the seed is {seed}"):
        balanced_order(LABELS, seed)
