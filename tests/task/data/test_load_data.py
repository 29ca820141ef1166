"""ImageData sets by name: digits, NumPy files, functions of the user, and what is said when something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from rank_search.errors import DataError, InvalidInputError, PluginError, UnknownNameError
from rank_search.task import ImageData
from rank_search.task.data.load_data import LOADERS, load_data

STATISTICS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}


def pooled(data: ImageData) -> np.ndarray:
    assert data.test is not None
    return torch.cat([part.images for part in (data.train, data.validation, data.test)]).numpy()


def test_digits_are_scaled_exactly_and_divided_without_loss_or_overlap() -> None:
    data = load_data("digits")
    assert (len(data.train), len(data.validation), len(data.test or ())) == (1197, 300, 300)
    assert data.train.images.shape[1:] == (1, 8, 8)
    assert (data.classes, data.crop, data.flip) == (10, 1, False)
    source = load_digits()
    scaled = np.round(source.images * 255 / 16).astype(np.uint8)  # 8 lies halfway; up is also even
    assert sorted(image.tobytes() for image in pooled(data)) == sorted(image.tobytes() for image in scaled)
    labels = {image.tobytes(): int(label) for image, label in zip(scaled, source.target, strict=True)}
    assert all(labels[i.numpy().tobytes()] == n for i, n in zip(data.train.images, data.train.labels, strict=True))


def test_every_digit_has_its_share_in_each_part() -> None:
    data = load_data("digits")
    shares = np.bincount(load_digits().target) / 1797
    for part in (data.train, data.validation, data.test):
        assert part is not None
        counts = torch.bincount(part.labels).numpy()
        assert np.abs(counts - shares * len(part)).max() < 2.5


def test_the_default_mean_and_deviation_of_digits_are_those_of_the_set() -> None:
    data = load_data("digits")
    pixels = pooled(data).astype(np.float64) / 255
    assert data.mean[0] == pytest.approx(pixels.mean(), abs=5e-5)
    assert data.std[0] == pytest.approx(pixels.std(), abs=5e-5)


def test_the_digits_of_seed_0_are_the_same_for_ever() -> None:
    data = load_data("digits")
    # recorded; a change here would silently change every recorded result
    assert data.validation.labels[:12].tolist() == [1, 2, 7, 8, 3, 1, 5, 6, 9, 5, 4, 7]
    assert int(data.train.images.sum()) == 5_964_984


def test_the_division_of_digits_depends_on_its_seed_alone() -> None:
    first, again, other = load_data("digits"), load_data("digits"), load_data("digits", seed=1)
    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.validation.images, other.validation.images)


def test_options_of_digits_are_applied() -> None:
    data = load_data("digits", validation=100, test=97, crop=0, flip=True, mean=[0.0], std=[1.0])
    assert (len(data.train), len(data.validation), len(data.test or ())) == (1600, 100, 97)
    assert (data.mean, data.std, data.crop, data.flip) == ((0.0,), (1.0,), 0, True)


@pytest.mark.parametrize("options", [{"validation": 0}, {"test": 0}, {"test": -1}, {"validation": 1497}])
def test_parts_of_the_digits_that_leave_one_empty_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"cannot hold out validation=\S+ and test=\S+ of 1797 digits"):
        load_data("digits", **options)


def arrays(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    source = np.random.RandomState(seed)
    return {"images": source.randint(0, 256, (n, 6, 8, 3)).astype(np.uint8), "labels": np.arange(n) % 4}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    found = {}
    for seed, name in enumerate(("train", "validation", "test")):
        found[name] = str(tmp_path / f"{name}.npz")
        np.savez_compressed(found[name], **arrays(8, seed))
    return found


def write_unnamed(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def test_npz_files_become_sets_in_their_order(files: dict[str, str]) -> None:
    data = load_data("npz", **files, **STATISTICS)
    assert (data.mean, data.std, data.crop, data.flip) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 4, True)
    for seed, part in enumerate((data.train, data.validation, data.test)):
        assert part is not None
        assert np.array_equal(part.images.numpy(), arrays(8, seed)["images"].transpose(0, 3, 1, 2))
        assert part.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    del files["test"]
    assert load_data("npz", **files, **STATISTICS).test is None


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (Path.unlink, "does not exist; expected a .npz file"),
        (lambda path: np.savez(path, images=arrays(8)["images"]), "has no array 'labels'; it has images"),
        (
            lambda path: np.savez(path, x=arrays(8)["images"], labels=arrays(8)["labels"]),
            "no array 'images'; it has x, l",
        ),
        (lambda path: np.savez(path, images=np.zeros((8, 6, 8, 3)), labels=arrays(8)["labels"]), "images are float64"),
        (
            lambda path: np.savez(path, images=np.zeros((8, 6, 8), np.uint8), labels=arrays(8)["labels"]),
            r"images are uint8 \[8, 6, 8\]; expected uint8 \[N, H, W, C\]",
        ),
        (lambda path: np.savez(path, images=arrays(8)["images"], labels=np.zeros(8)), r"labels are float64 \[8\]"),
        (lambda path: np.savez(path, images=arrays(8)["images"], labels=np.arange(7)), "8 images and 7 labels"),
        (lambda path: np.savez(path, images=arrays(8)["images"], labels=np.arange(8) - 1), "a label is -1"),
        (lambda path: np.savez(path, images=arrays(8)["images"], labels=np.array([None] * 8)), "not a readable .npz"),
        (lambda path: path.write_text("images"), "is not a readable .npz file"),
        (lambda path: path.write_bytes(b""), "is not a readable .npz file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-90]), "is not a readable .npz file"),
        (lambda path: write_unnamed(path, np.zeros(3)), "has no array 'images'; it has no named arrays"),
    ],
)
def test_a_bad_npz_file_is_named_with_what_was_found(
    files: dict[str, str], write: Callable[[Path], object], message: str
) -> None:
    write(Path(files["validation"]))
    with pytest.raises(DataError, match=message) as caught:
        load_data("npz", **files, **STATISTICS)
    assert files["validation"] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_arrays_in_a_npz_file_are_not_read(files: dict[str, str]) -> None:
    np.savez(files["train"], **arrays(8), names=np.array([None, "a"]))
    assert len(load_data("npz", **files, **STATISTICS).train) == 8


def test_npz_files_of_different_image_sizes_are_refused(files: dict[str, str]) -> None:
    np.savez(files["validation"], images=np.zeros((4, 6, 6, 3), np.uint8), labels=np.zeros(4, int))
    with pytest.raises(DataError, match=r"validation images are \[3, 6, 6\] and train images \[3, 6, 8\]"):
        load_data("npz", **files, **STATISTICS)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digits", {"valdation": 3}, "data set 'digits' has no option 'valdation' .did you mean 'validation'"),
        ("digits", {"validation": "many"}, "data set 'digits': option 'validation' is 'many': .*integer"),
        ("digits", {"std": [0.0]}, "std is .0.0.; all values must be positive"),
        ("digits", {"mean": [0.1, 0.2]}, "mean has 2 values; the images have 1 channels"),
        ("digits", {"mean": 0.1}, "option 'mean' is 0.1: .*tuple"),
        ("digits", {"seed": -1}, "the seed is -1"),
        ("npz", {"train": "a.npz"}, "data set 'npz' needs the options 'validation', 'mean', 'std'"),
        ("CIFAR10", {}, "data set 'CIFAR10' needs the option 'root'"),
        ("CIFAR100", {"root": ".", "valid": 3}, "'valid' .did you mean 'validation'"),
        ("ImageFolder", {"root": ".", "sizes": 3}, "'sizes' .did you mean 'size'"),
    ],
)
def test_a_wrong_option_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_data(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("digit", "digits"), ("cifar10", "CIFAR10"), ("CIFAR_100", "CIFAR100"), ("imagefolder", "ImageFolder")],
)
def test_an_unknown_name_brings_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown data set '{name}' .did you mean '{hint}'.*known: digits"):
        load_data(name)


def test_every_loader_of_images_can_be_overridden_in_its_normalisation_and_augmentation() -> None:
    for name, loader in LOADERS.items():
        if name in ("mnist1d", "noise"):  # signals, normalised as published; numbers that are no images
            continue
        assert {"mean", "std", "crop", "flip"} <= set(loader.__annotations__)
        assert loader.__doc__


def test_a_function_of_the_user_brings_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data_of_a_user.py").write_text(
        "import torch\n"
        "from rank_search.task import ImageData, ImageSet\n"
        "def load(n):\n"
        "    images = ImageSet(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.arange(n))\n"
        "    return ImageData(images, images, None, (0.0,), (1.0,))\n"
        "def wrong():\n    return {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_data("data_of_a_user:load", n=3).classes == 3
    with pytest.raises(InvalidInputError, match="no option 'm'"):
        load_data("data_of_a_user:load", n=3, m=4)
    with pytest.raises(PluginError, match="returned a dict; it must return a Data"):
        load_data("data_of_a_user:wrong")
    with pytest.raises(UnknownNameError, match="did you mean 'load'"):
        load_data("data_of_a_user:laod")
