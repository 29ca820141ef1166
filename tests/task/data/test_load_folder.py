"""Images in class folders: how they are resized, which become which set, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rank_search.errors import DataError
from rank_search.task.data.image_data import ImageSet
from rank_search.task.data.load_data import load_data


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def fill(root: Path, split: str, start: int, *sizes: int) -> None:
    """Image i of all is filled with the grey value i; class c (folder a, b, ...) gets ``sizes[c]`` images."""
    for label, size in enumerate(sizes):
        for _ in range(size):
            save(root / split / "abcdef"[label] / f"{start}.png", np.full((8, 8, 3), start, np.uint8))
            start += 1


def values(part: ImageSet | None) -> list[int]:
    assert part is not None
    assert (part.images == part.images[:, :1, :1, :1]).all()
    return sorted(part.images[:, 0, 0, 0].tolist())


def test_with_a_test_folder_each_set_comes_from_its_own(tmp_path: Path) -> None:
    fill(tmp_path, "train", 0, 3, 2)
    fill(tmp_path, "val", 10, 1, 2)
    fill(tmp_path, "test", 20, 2, 1)
    data = load_data("ImageFolder", root=str(tmp_path), size=8)
    assert (values(data.train), values(data.validation), values(data.test)) == (
        [0, 1, 2, 3, 4],
        [10, 11, 12],
        [20, 21, 22],
    )
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (data.crop, data.flip, data.classes) == (1, True, 2)
    with pytest.raises(DataError, match=r"validation=5 is given, but .*test exists"):
        load_data("ImageFolder", root=tmp_path, size=8, validation=5)


@pytest.mark.parametrize(("validation", "expected"), [(10, 10), (0.25, 10), (None, 4), (1, 1), (39, 39), (0.5, 20)])
def test_without_a_test_folder_val_is_the_test_set_and_validation_comes_from_train(
    tmp_path: Path, validation: float | None, expected: int
) -> None:
    fill(tmp_path, "train", 0, 20, 12, 8)
    fill(tmp_path, "val", 100, 1, 1, 1)
    data = load_data("ImageFolder", root=tmp_path, size=8, validation=validation)
    assert len(data.validation) == expected
    assert sorted(values(data.train) + values(data.validation)) == list(range(40))
    assert values(data.test) == [100, 101, 102]
    if expected == 10:
        assert data.validation.labels.bincount().tolist() == [5, 3, 2]


@pytest.mark.parametrize("validation", [0, -1, 5, 5.0, 2.5, 0.01, 0.99, float("nan"), float("inf")])
def test_a_validation_set_that_leaves_nothing_or_is_nothing_is_refused(tmp_path: Path, validation: float) -> None:
    fill(tmp_path, "train", 0, 3, 2)
    fill(tmp_path, "val", 100, 1, 1)
    with pytest.raises(DataError, match=r"validation is .*of 5 training images it must be a number from 1 to 4"):
        load_data("ImageFolder", root=tmp_path, size=8, validation=validation)


def test_training_images_can_be_limited_per_class(tmp_path: Path) -> None:
    fill(tmp_path, "train", 0, 20, 12, 2)
    fill(tmp_path, "val", 100, 1, 1, 1)
    fill(tmp_path, "test", 110, 1, 1, 1)
    data = load_data("ImageFolder", root=tmp_path, size=8, train_per_class=5)
    assert data.train.labels.bincount().tolist() == [5, 5, 2]
    assert set(values(data.train)) < set(range(34))
    assert values(load_data("ImageFolder", root=tmp_path, size=8, train_per_class=5).train) == values(data.train)
    assert values(load_data("ImageFolder", root=tmp_path, size=8, train_per_class=5, seed=1).train) != values(
        data.train
    )


def test_the_shorter_side_is_scaled_and_the_centre_is_kept(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)  # four bands, 4 wide: scaled to 4 x 8, then the two middle ones remain
    for band, colour in enumerate([(255, 0, 0), (10, 20, 30), (200, 100, 50), (0, 0, 255)]):
        pixels[:, 4 * band : 4 * band + 4] = colour
    for split in ("train", "val", "test"):
        save(tmp_path / split / "a" / "image.png", pixels)
        save(tmp_path / split / "b" / "image.png", pixels.transpose(1, 0, 2))
    images = load_data("ImageFolder", root=tmp_path, size=4).train.images
    assert images.shape == (2, 3, 4, 4)
    # bilinear filtering mixes neighbours at the edges of bands: compare within a fifth of the range
    for column, colour in ((0, (10, 20, 30)), (1, (10, 20, 30)), (2, (200, 100, 50)), (3, (200, 100, 50))):
        assert np.abs(images[0, :, :, column].numpy() - np.reshape(colour, (3, 1)).astype(int)).max() <= 51
        assert np.abs(images[1, :, column].numpy() - np.reshape(colour, (3, 1)).astype(int)).max() <= 51


def test_an_image_of_the_right_size_is_kept_bit_for_bit_and_resize_takes_a_smaller_part(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    for split in ("train", "val", "test"):
        save(tmp_path / split / "a" / "image.png", pixels)
        save(tmp_path / split / "b" / "image.png", pixels[..., 0])  # grey: the same value in all channels
    images = load_data("ImageFolder", root=tmp_path, size=8).train.images.numpy()
    assert np.array_equal(images[0], pixels.transpose(2, 0, 1))
    assert np.array_equal(images[1], np.stack([pixels[..., 0]] * 3))
    part = load_data("ImageFolder", root=tmp_path, size=4, resize=8).train.images.numpy()
    assert np.array_equal(part[0], pixels[2:6, 2:6].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "option 'size' is 0: .*greater than 0"),
        ({"size": 8, "resize": 7}, "resize is 7 and size 8"),
        ({"size": 8, "crop": 8, "validation": 1}, "crop is 8"),
        ({"train_per_class": 0}, "option 'train_per_class' is 0"),
    ],
)
def test_impossible_sizes_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    fill(tmp_path, "train", 0, 3, 2)
    fill(tmp_path, "val", 100, 1, 1)
    with pytest.raises(DataError, match=message):
        load_data("ImageFolder", root=tmp_path, **options)


def test_classes_that_differ_are_named(tmp_path: Path) -> None:
    fill(tmp_path, "train", 0, 3, 2, 1)
    fill(tmp_path, "val", 100, 1, 1)
    with pytest.raises(DataError, match=r"train has 'c' and .*val has not"):
        load_data("ImageFolder", root=tmp_path, size=8)
    fill(tmp_path, "val", 110, 1, 1, 1)
    fill(tmp_path, "test", 120, 1, 1, 1, 1)
    with pytest.raises(DataError, match=r"test has 'd' and .*train has not"):
        load_data("ImageFolder", root=tmp_path, size=8)


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train does not exist; expected train/ and val/"):
        load_data("ImageFolder", root=tmp_path, size=8)
    fill(tmp_path, "train", 0, 3, 2)
    with pytest.raises(DataError, match=r"val does not exist"):
        load_data("ImageFolder", root=tmp_path, size=8)
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match=r"val does not have one folder of images per class"):
        load_data("ImageFolder", root=tmp_path, size=8)
    (tmp_path / "val" / "a").mkdir()
    with pytest.raises(DataError, match=r"val does not have one folder of images per class"):
        load_data("ImageFolder", root=tmp_path, size=8)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "train", 0, 3, 2)
    fill(tmp_path, "val", 100, 1, 1)
    broken = tmp_path / "train" / "b" / "broken.png"
    broken.write_bytes((tmp_path / "train" / "a" / "0.png").read_bytes()[:40])
    with pytest.raises(DataError, match="cannot read the image") as caught:
        load_data("ImageFolder", root=tmp_path, size=8, validation=1)
    assert str(broken) in str(caught.value)
    assert "file it" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_is_read_in_its_colours_without_a_warning(tmp_path: Path) -> None:
    fill(tmp_path, "train", 0, 3, 2)
    fill(tmp_path, "val", 100, 1, 1)
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    picture.save(tmp_path / "train" / "a" / "0.png", transparency=bytes([255, 7]))
    data = load_data("ImageFolder", root=tmp_path, size=8, validation=1)
    images = torch.cat([data.train.images, data.validation.images])
    assert [10, 200, 30] in images[:, :, 0, 0].tolist()
