from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rank_search import load_data
from rank_search.errors import DataError
from rank_search.task import ImageData


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 14, 3), shade, dtype=np.uint8)).save(path)


def shades(data: ImageData, name: str) -> list[int]:
    return sorted(int(image[0, 0, 0]) for image in getattr(data, name).images)


def test_a_heap_is_split_without_labels_whatever_lies_beside(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / ("deep/er" if number % 2 else "") / f"{number}.png", 10 * number)
    (tmp_path / "notes.txt").write_text("no image")
    data = load_data("images", root=str(tmp_path), size=8)
    assert isinstance(data, ImageData)
    assert (len(data.train), len(data.validation), data.test) == (8, 2, None)
    assert sorted(shades(data, "train") + shades(data, "validation")) == [10 * number for number in range(10)]
    (batch,) = data.batches(data.validation, 8)
    assert batch.targets is None
    assert batch.inputs.shape == (2, 3, 8, 8)
    assert next(data.train_batches(8, torch.Generator())).targets is None


def test_folders_are_classes_by_name_and_a_choice_is_balanced(tmp_path: Path) -> None:
    for number in range(24):
        picture(tmp_path / "abc"[number % 3] / f"{number}.jpg", 100 + number % 3)
    data = load_data("images", root=str(tmp_path), size=8, images=12, validation=3)
    assert isinstance(data, ImageData)
    assert data.train.labels.bincount().tolist() == [3, 3, 3]
    assert data.validation.labels.bincount().tolist() == [1, 1, 1]
    unlabelled = load_data("images", root=str(tmp_path), size=8, labels=False)
    assert len(unlabelled.train) + len(unlabelled.validation) == 24


def test_noise_is_the_same_again_and_has_no_targets() -> None:
    data, again = (load_data("noise", shape=[2, 5], samples=4) for _ in range(2))
    assert torch.equal(data.train.inputs, again.train.inputs)
    assert data.train.inputs.shape == (4, 2, 5)
    assert data.train.targets is None
    assert not torch.equal(data.train.inputs, data.validation.inputs)


def test_digits_are_enlarged_and_stay_what_they_are() -> None:
    small, large = load_data("digits"), load_data("digits", size=16)
    assert large.train.images.shape[1:] == (1, 16, 16)
    assert torch.equal(large.train.labels, small.train.labels)
    means = [part.train.images.float().mean((1, 2, 3)) for part in (small, large)]
    assert float((means[0] - means[1]).abs().max()) < 16


def test_one_folder_is_no_class(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "only" / f"{number}.png", number)
    with pytest.raises(DataError, match="labels need one for every class"):
        load_data("images", root=str(tmp_path), labels=True)


def test_a_picture_is_read_as_it_is_seen(tmp_path: Path) -> None:
    """A ramp of 16 bits is the ramp of its upper 8, and a camera held sideways is turned upright."""
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for number in range(3):
        Image.fromarray(ramp).save(tmp_path / f"{number}.png")
    data = load_data("images", root=str(tmp_path), size=8)
    assert np.abs(data.train.images[0, 0].numpy().astype(int) - (ramp >> 8)).max() <= 1
    held = Image.new("L", (8, 8))
    held.paste(255, (0, 0, 8, 4))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for number in range(3):
        held.save(tmp_path / f"{number}.png", exif=exif)
    data = load_data("images", root=str(tmp_path), size=8)
    assert data.train.images[0, 0, 0, 0] == 0
    assert data.train.images[0, 0, 7, 0] == 255


def test_a_class_without_images_would_move_the_numbers_of_the_others(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "ac"[number % 2] / f"{number}.png", number)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="b holds no image, and classes are numbered by the folders"):
        load_data("images", root=str(tmp_path), labels=True)
    (tmp_path / "b").rmdir()
    with pytest.raises(DataError, match="3 images of 2 classes are too few"):
        load_data("images", root=str(tmp_path), images=3)
