"""torchvision's data sets, from tiny files in their own formats."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from rank_search.errors import DataError
from rank_search.task.data.image_data import ImageSet
from rank_search.task.data.load_data import load_data


def noise(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (n, *shape)).astype(np.uint8)


def known(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def planes(part: ImageSet | None) -> set[bytes]:
    assert part is not None
    return {image.numpy().tobytes() for image in part.images}


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, n, seed in (("train", 40, 0), ("t10k", 20, 1)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", noise(n, 28, 28, seed=seed))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.arange(n) % 10)
    return tmp_path


def test_fashion_mnist_is_read_and_its_validation_images_come_from_the_training_images(fashion: Path) -> None:
    data = load_data("FashionMNIST", root=str(fashion), validation=10)
    assert data.train.images.shape == (30, 1, 28, 28)
    assert data.validation.labels.bincount().tolist() == [1] * 10
    assert planes(data.train) | planes(data.validation) == known(noise(40, 28, 28, seed=0))
    assert planes(data.train).isdisjoint(planes(data.validation))
    assert planes(data.test) == known(noise(20, 28, 28, seed=1))
    assert (data.mean, data.std, data.classes) == ((0.2860,), (0.3530,), 10)


def test_statistics_and_augmentation_can_be_overridden(fashion: Path) -> None:
    data = load_data("FashionMNIST", root=fashion, validation=10, mean=[0.5], std=[0.25], crop=0, flip=False)
    assert (data.mean, data.std, data.crop, data.flip) == ((0.5,), (0.25,), 0, False)


def test_more_validation_images_than_there_are_is_refused(fashion: Path) -> None:
    with pytest.raises(DataError, match="cannot hold out 5000 of 40 images"):
        load_data("FashionMNIST", root=fashion)


def test_a_damaged_file_is_refused_in_one_line(fashion: Path) -> None:
    (fashion / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08")
    with pytest.raises(DataError, match="FashionMNIST is missing or damaged under") as caught:
        load_data("FashionMNIST", root=fashion, validation=10)
    assert "\n" not in str(caught.value)


def write_cifar(folder: Path, name: str, images: np.ndarray, key: str, labels: list[int]) -> str:
    """One batch as the official archive has it: a pickled dict, planes in rows of bytes. Returns its MD5."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    content = pickle.dumps({"data": rows, key: labels})
    (folder / name).write_bytes(content)
    return hashlib.md5(content).hexdigest()


@pytest.mark.parametrize(("name", "classes"), [("CIFAR10", 10), ("CIFAR100", 100)])
def test_cifar_is_read_with_its_planes_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, classes: int
) -> None:
    original = getattr(datasets, name)
    folder = tmp_path / original.base_folder
    folder.mkdir()
    key = "labels" if classes == 10 else "fine_labels"
    train, test = noise(2 * classes, 32, 32, 3), noise(5, 32, 32, 3, seed=1)
    sums = [
        write_cifar(folder, "first", train[:classes], key, list(range(classes))),
        write_cifar(folder, "second", train[classes:], key, list(range(classes))),
        write_cifar(folder, "test", test, key, [4, 3, 2, 1, 0]),
    ]
    meta = pickle.dumps({original.meta["key"]: [str(label) for label in range(classes)]})
    (folder / original.meta["filename"]).write_bytes(meta)
    monkeypatch.setattr(original, "train_list", [["first", sums[0]], ["second", sums[1]]])
    monkeypatch.setattr(original, "test_list", [["test", sums[2]]])
    monkeypatch.setattr(original, "meta", {**original.meta, "md5": hashlib.md5(meta).hexdigest()})
    data = load_data(name, root=tmp_path, validation=classes)
    assert data.classes == classes
    assert data.validation.labels.bincount().tolist() == [1] * classes
    assert planes(data.train) | planes(data.validation) == known(train.transpose(0, 3, 1, 2))
    assert data.test is not None
    assert np.array_equal(data.test.images.numpy(), test.transpose(0, 3, 1, 2))
    assert data.test.labels.tolist() == [4, 3, 2, 1, 0]
    assert (data.crop, data.flip) == (4, True)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("CIFAR10", "cifar-10-batches-py"), ("CIFAR100", "cifar-100-python"), ("FashionMNIST", "FashionMNIST/raw")],
)
def test_missing_files_are_told_with_the_place_and_what_to_put_there(tmp_path: Path, name: str, wanted: str) -> None:
    with pytest.raises(DataError, match=wanted) as caught:
        load_data(name, root=tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert "nothing is downloaded" in str(caught.value)
    assert not (tmp_path / "nowhere").exists()
