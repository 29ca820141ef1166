"""Sets of images: what is accepted, and how a part is taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rank_search.errors import DataError
from rank_search.task.data.image_set import ImageSet


def numbered(*sizes: int) -> ImageSet:
    """Image i is filled with the value i; class c has ``sizes[c]`` images."""
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    return ImageSet(images, labels)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            torch.zeros(2, 1, 4, 4),
            torch.zeros(2, dtype=torch.int64),
            r"images are torch.float32 \[2, 1, 4, 4\]; expected",
        ),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"images are .*\[2, 4, 4\]"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2), "labels are torch.float32"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.int64), r"labels are .*\[2, 1\]"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "2 images and 3 labels"),
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "no images"),
        (torch.zeros(2, 1, 0, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "no images"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, -3]), "a label is -3"),
        (np.zeros((2, 1, 4, 4), dtype=np.uint8), torch.zeros(2, dtype=torch.int64), "images are of type ndarray"),
    ],
)
def test_malformed_images_or_labels_are_refused(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet(images, labels)


def test_arrays_of_image_files_are_transposed_to_planes() -> None:
    images = np.random.RandomState(0).randint(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    found = ImageSet.from_arrays(images, np.arange(5, dtype=np.uint8))
    assert len(found) == 5
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    for n, channel, row, column in np.ndindex(5, 3, 4, 6):
        assert found.images[n, channel, row, column] == images[n, row, column, channel]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 3)), np.zeros(2, int), r"images are float64 \[2, 4, 4, 3\]; expected uint8 \[N, H, W, C\]"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, int), r"images are uint8 \[2, 4, 4\]; expected"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2), r"labels are float64 \[2\]; expected integers"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 1), int), r"labels are int64 \[2, 1\]; expected"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(4, int), "2 images and 4 labels"),
    ],
)
def test_malformed_arrays_are_refused(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet.from_arrays(images, labels)


def test_a_subset_is_balanced_keeps_images_with_their_labels_and_grows_from_smaller_ones() -> None:
    whole = numbered(30, 50, 20)
    smaller, larger = whole.subset(30, seed=1), whole.subset(63, seed=1)
    assert torch.bincount(smaller.labels).tolist() == [10, 10, 10]
    assert sorted(torch.bincount(larger.labels).tolist()) == [20, 21, 22]
    for part in (smaller, larger):
        values = part.images[:, 0, 0, 0].long()
        assert torch.equal(whole.labels[values], part.labels)
        assert len(set(values.tolist())) == len(part)
    assert set(smaller.images[:, 0, 0, 0].tolist()) < set(larger.images[:, 0, 0, 0].tolist())


def test_a_subset_is_fixed_by_its_seed_and_whole_when_nothing_is_left_out() -> None:
    whole = numbered(30, 50, 20)
    assert torch.equal(whole.subset(20, seed=1).images, whole.subset(20, seed=1).images)
    assert not torch.equal(whole.subset(20, seed=1).images, whole.subset(20, seed=2).images)
    assert whole.subset(100, seed=0) is whole
    assert whole.subset(500, seed=0) is whole
    with pytest.raises(DataError, match="subset of 0 images"):
        whole.subset(0, seed=0)


def test_holding_out_divides_the_set_and_keeps_the_shares_of_the_classes() -> None:
    whole = numbered(30, 50, 20)
    rest, held_out = whole.hold_out(40, seed=0)
    assert torch.bincount(held_out.labels).tolist() == [12, 20, 8]
    assert torch.bincount(rest.labels).tolist() == [18, 30, 12]
    values = [*rest.images[:, 0, 0, 0].tolist(), *held_out.images[:, 0, 0, 0].tolist()]
    assert sorted(values) == list(range(100))


@pytest.mark.parametrize("n", [-1, 0, 100, 101])
def test_neither_side_of_a_division_may_be_empty(n: int) -> None:
    with pytest.raises(DataError, match=f"cannot hold out {n} of 100 images"):
        numbered(30, 50, 20).hold_out(n, seed=0)
