"""Batches: normalisation against double precision, augmentation against brute force, randomness from one generator."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rank_search.errors import DataError
from rank_search.task import ImageData, ImageSet


def images(n: int, *shape: int, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(1, 256, (n, *(shape or (3, 6, 8))), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(n) % 4)


def data(n: int = 20, **changes: Any) -> ImageData:
    chosen: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "test": images(4), **changes}
    return ImageData(images(n), images(6, seed=1), **chosen)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.5,)}, "mean has 1 values; the images have 3 channels"),
        ({"std": (1.0,) * 4}, "std has 4 values; the images have 3 channels"),
        ({"std": (1.0, 0.0, 1.0)}, r"std is \[1.0, 0.0, 1.0\]; all values must be positive"),
        ({"std": (1.0, -1.0, 1.0)}, "must be positive"),
        ({"std": (1.0, float("nan"), 1.0)}, "std is .* must be finite"),
        ({"mean": (1.0, float("inf"), 1.0)}, "mean is .* must be finite"),
        ({"crop": -1}, "crop is -1"),
        ({"crop": 6}, r"crop is 6; .*less than the images, \[6, 8\]"),
        ({"test": images(4, 1, 6, 8)}, r"test images are \[1, 6, 8\] and train images \[3, 6, 8\]"),
        (
            {"test": ImageSet(images(1).images, torch.tensor([4]))},
            "a test label is 4; train and validation labels end at 3",
        ),
    ],
)
def test_sets_and_numbers_that_do_not_belong_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        data(**changes)


def test_validation_images_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match=r"validation images are \[3, 8, 8\]"):
        ImageData(images(4), images(4, 3, 8, 8), None, (0.5,) * 3, (1.0,) * 3)


def test_without_test_has_all_but_the_test_set() -> None:
    whole = data(crop=2, flip=True)
    rest = whole.without_test()
    assert rest.test is None
    assert (rest.train, rest.validation, rest.mean, rest.crop, rest.flip) == (
        whole.train,
        whole.validation,
        whole.mean,
        2,
        True,
    )
    assert whole.test is not None
    assert whole.classes == rest.classes == 4


def test_data_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        data().test = None


def test_normalising_agrees_with_double_precision() -> None:
    task = data()
    pixels = task.train.images
    expected = (pixels.numpy().astype(np.float64) / 255 - np.reshape(task.mean, (3, 1, 1))) / np.reshape(
        task.std, (3, 1, 1)
    )
    found = task.normalise(pixels)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "pixels", [torch.zeros(2, 3, 6, 8), torch.zeros(2, 1, 6, 8).byte(), torch.zeros(3, 6, 8).byte()]
)
def test_only_bytes_with_the_right_channels_are_normalised_and_augmented(pixels: Tensor) -> None:
    with pytest.raises(DataError, match=r"expected torch.uint8 \[B, 3, H, W\]"):
        data().normalise(pixels)
    with pytest.raises(DataError, match=r"expected torch.uint8 \[B, 3, H, W\]"):
        data().augment(pixels, generator())


def test_augmentation_without_crop_and_flip_is_the_identity_and_draws_nothing() -> None:
    source = generator()
    before = source.get_state()
    pixels = images(50).images
    assert torch.equal(data().augment(pixels, source), pixels)
    assert torch.equal(source.get_state(), before)


def variants(image: np.ndarray, crop: int, flip: bool) -> dict[tuple[int, int, bool], np.ndarray]:
    """Every image that may come of one, by brute force: shifted by (down, right), then perhaps mirrored."""
    _, height, width = image.shape
    found = {}
    for down in range(-crop, crop + 1):
        for right in range(-crop, crop + 1):
            shifted = np.zeros_like(image)
            for row in range(height):
                for column in range(width):
                    if 0 <= row - down < height and 0 <= column - right < width:
                        shifted[:, row, column] = image[:, row - down, column - right]
            found[down, right, False] = shifted
            if flip:
                found[down, right, True] = shifted[:, :, ::-1]
    return found


@pytest.mark.parametrize(("crop", "flip"), [(1, False), (2, True), (0, True), (5, False)])
def test_an_augmented_image_is_one_of_its_shifted_and_mirrored_copies_and_all_occur(crop: int, flip: bool) -> None:
    originals = images(3).images
    allowed = [variants(image.numpy(), crop, flip) for image in originals]
    copies = 100 * len(allowed[0])
    pixels = originals.repeat(copies, 1, 1, 1)
    before = pixels.clone()
    found = data(crop=crop, flip=flip).augment(pixels, generator()).numpy()
    assert found.dtype == np.uint8
    assert torch.equal(pixels, before)
    names = [{copy_.tobytes(): name for name, copy_ in options.items()} for options in allowed]
    assert [len(known) for known in names] == [len(options) for options in allowed]
    counts: dict[tuple[int, int, bool], int] = {}
    for index, image in enumerate(found):
        name = names[index % 3][image.tobytes()]
        counts[name] = counts.get(name, 0) + 1
    assert counts.keys() == allowed[0].keys()
    # each is expected 300 times; 6 standard deviations of a binomial are about 104
    assert all(abs(count - 300) < 104 for count in counts.values())


def test_images_of_one_batch_are_augmented_independently() -> None:
    pixels = images(1).images.repeat(64, 1, 1, 1)
    found = data(crop=2, flip=True).augment(pixels, generator())
    assert len({image.numpy().tobytes() for image in found}) > 20


def test_the_same_generator_state_gives_the_same_bits_and_another_seed_others() -> None:
    task = data(n=21, crop=2, flip=True)

    def epochs(source: torch.Generator) -> list[Tensor]:
        return [tensor for _ in range(2) for batch in task.train_batches(8, source) for tensor in batch]

    first, again, other = epochs(generator(1)), epochs(generator(1)), epochs(generator(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first[::2], other[::2], strict=True))
    assert not torch.equal(first[0], first[len(first) // 2])  # the second epoch is shuffled anew


def test_global_randomness_is_neither_used_nor_disturbed() -> None:
    task = data(crop=2, flip=True)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = [batch[0] for batch in task.train_batches(8, generator())]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert all(torch.equal(a, b[0]) for a, b in zip(first, task.train_batches(8, generator()), strict=True))


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(20, 8, [8, 8, 4]), (17, 8, [8, 9]), (16, 8, [8, 8]), (9, 8, [9]), (2, 8, [2]), (5, 2, [2, 3]), (20, 64, [20])],
)
def test_an_epoch_shows_every_image_once_and_no_batch_is_of_one(n: int, batch_size: int, sizes: list[int]) -> None:
    task = data(n=n)
    batches = list(task.train_batches(batch_size, generator()))
    assert [len(labels) for _, labels in batches] == sizes
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    wanted = {image.numpy().tobytes(): int(label) for image, label in zip(*normalised(task), strict=True)}
    found = {image.numpy().tobytes(): int(label) for image, label in zip(inputs, labels, strict=True)}
    assert len(wanted) == n
    assert found == wanted


def normalised(task: ImageData) -> tuple[Tensor, Tensor]:
    return task.normalise(task.train.images), task.train.labels


@pytest.mark.parametrize(("n", "batch_size"), [(20, 1), (20, 0), (1, 8)])
def test_training_on_single_images_is_refused_at_once(n: int, batch_size: int) -> None:
    with pytest.raises(DataError, match=f"batches of {batch_size} from {n} samples"):
        data(n=n).train_batches(batch_size, generator())


def test_plain_batches_keep_the_order_and_are_not_augmented() -> None:
    task = data(crop=2, flip=True)
    batches = list(task.batches(task.validation, 4))
    assert [len(labels) for _, labels in batches] == [4, 2]
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert torch.equal(inputs, task.normalise(task.validation.images))
    assert torch.equal(labels, task.validation.labels)
    with pytest.raises(DataError, match="the batch size is 0"):
        task.batches(task.validation, 0)


def test_reading_batches_leaves_the_stored_images_alone() -> None:
    task = data(crop=2, flip=True)
    before = copy.deepcopy(task.train.images)
    for inputs, _ in task.train_batches(8, generator()):
        inputs.zero_()
    assert torch.equal(task.train.images, before)
