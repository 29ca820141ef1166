"""Data sets by name: one loader function each, and any function of the user. Nothing is ever downloaded."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import PositiveInt
from torch.nn.functional import interpolate

from rank_search.errors import DataError, UnknownNameError
from rank_search.isolation import isolated
from rank_search.plugins import nearest
from rank_search.task.calling import call_users_function, call_with_options
from rank_search.task.data.data import Data
from rank_search.task.data.image_data import ImageData
from rank_search.task.data.image_set import ImageSet
from rank_search.task.data.load_folder import load_folder
from rank_search.task.data.load_images import load_images
from rank_search.task.data.load_torchvision import load_cifar10, load_cifar100, load_fashion_mnist
from rank_search.task.data.tensor_data import TensorData, TensorSet


def load_data(name: str, **options: Any) -> Data:
    """Loads a data set.

    Args:
        name: a key of :data:`LOADERS`, or ``module:function`` for a function of yours that returns a :class:`Data`.
        options: passed to the loader, whose documentation tells what they mean.

    Raises:
        UnknownNameError: if there is no data set of that name.
        DataError: if an option is unknown, missing or wrong, or the files are missing or malformed.
        InvalidInputError: if a function of yours does not take these options.
        PluginError: if a function of yours raises or returns something else.
    """
    if name in LOADERS:
        return call_with_options(LOADERS[name], options, f"data set {name!r}", DataError)
    if ":" in name:
        return call_users_function(name, options, "data set", Data)  # type: ignore[type-abstract]
    same = [known for known in LOADERS if known.lower() == name.lower()]
    hint = f" (did you mean {same[0]!r}?)" if same else nearest(name, LOADERS)
    raise UnknownNameError(f"unknown data set {name!r}{hint}; known: {', '.join(LOADERS)}, or give 'module:function'")


def load_digits(
    validation: int = 300,
    test: int = 300,
    seed: int = 0,
    mean: tuple[float, ...] = (0.3053,),
    std: tuple[float, ...] = (0.3759,),
    crop: int = 1,
    flip: bool = False,
    size: PositiveInt = 8,
) -> ImageData:
    """The 1,797 handwritten digits that scikit-learn brings along: ``[1, 8, 8]``, 10 classes.

    Args:
        size: height and width that they are enlarged to, bilinearly: convolutions then dominate a network's time.
        validation, test: images to hold out for each, every class in its share; the rest is the train set.
        seed: of the split.
        mean, std, crop, flip: as in :class:`ImageData`.

    Raises:
        DataError: if the held-out images leave none to train on.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    grey = digits.images.astype(np.int64)  # whole numbers from 0 to 16
    images = ((grey * 255 + 8) // 16).astype(np.uint8)
    if size != images.shape[1]:
        planes = torch.from_numpy(images)[:, None].float()
        images = interpolate(planes, (size, size), mode="bilinear")[:, 0].round().to(torch.uint8).numpy()
    everything = ImageSet.from_arrays(images[..., None], digits.target)
    if validation < 1 or test < 1 or validation + test >= len(everything):
        raise DataError(
            f"cannot hold out validation={validation} and test={test} of {len(everything)} digits; "
            "hold out at least 1 each, and leave some to train on"
        )
    rest, test_set = everything.hold_out(test, seed)
    train_set, validation_set = rest.hold_out(validation, seed)
    return ImageData(train_set, validation_set, test_set, mean, std, crop, flip)


def load_mnist1d(train: int = 3000, validation: int = 500, test: int = 500, seed: int = 42) -> TensorData:
    """MNIST-1D (Greydanus and Kobak, ICML 2024): signals ``[1, 40]`` of 10 classes, generated on the spot.

    Args:
        train, validation, test: signals in each set.
        seed: of the generator; 42 is that of the published set.
    """
    from mnist1d.data import get_dataset_args, make_dataset

    for name, count in (("train", train), ("validation", validation), ("test", test)):
        if count < 1:
            raise DataError(f"mnist1d {name}={count} is not allowed: give at least 1")
    settings = get_dataset_args()
    settings.seed, settings.train_split = seed, 1.0
    settings.num_samples = -(-(train + validation + test) // 10) * 10  # as many of every class
    with isolated(seed):  # it seeds the generators of the whole process
        found = make_dataset(settings)
    signals, labels = torch.from_numpy(found["x"]).float()[:, None], torch.from_numpy(found["y"]).long()
    ends = np.cumsum([0, train, validation, test]).tolist()
    train_set, validation_set, test_set = (
        TensorSet(signals[start:stop].clone(), labels[start:stop].clone()) for start, stop in itertools.pairwise(ends)
    )
    return TensorData(train_set, validation_set, test_set)


def load_noise(shape: tuple[PositiveInt, ...], samples: PositiveInt = 8, seed: int = 0) -> TensorData:
    """Standard normal inputs without targets, where there is no data: shapes and times are those of the network.

    What is measured on them says nothing of what the network is worth.

    Args:
        shape: of an input, such as ``3, 224, 224``.
        samples: in the train set and in the validation set.
        seed: of the numbers.
    """
    drawn = torch.randn(2, samples, *shape, generator=torch.Generator().manual_seed(seed))
    return TensorData((drawn[0], None), (drawn[1], None))


def load_npz(
    train: Path,
    validation: Path,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    test: Path | None = None,
    crop: int = 4,
    flip: bool = True,
) -> ImageData:
    """Images in NumPy files: arrays ``images`` uint8 ``[N, H, W, C]`` and ``labels`` integer ``[N]``.

    Args:
        train, validation, test: the files.
        mean, std, crop, flip: as in :class:`ImageData`.

    Raises:
        DataError: if a file is missing or unreadable, or an array is missing, malformed or of another length.
    """
    test_set = None if test is None else _read_npz(test)
    return ImageData(_read_npz(train), _read_npz(validation), test_set, mean, std, crop, flip)


def _read_npz(path: Path) -> ImageSet:
    path = path.expanduser()
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a .npz file with arrays 'images' and 'labels'")
    try:
        names, arrays = _arrays(path)
    except Exception as error:  # whatever the readers of zip and of arrays may raise on a damaged file
        raise DataError(f"{path} is not a readable .npz file of plain arrays: {error}") from error
    for name in ("images", "labels"):
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}; it has {', '.join(names) or 'no named arrays'}")
    try:
        return ImageSet.from_arrays(arrays["images"], arrays["labels"])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _arrays(path: Path) -> tuple[list[str], dict[str, npt.NDArray[Any]]]:
    """The names of all arrays in a file, and those arrays that matter."""
    with path.open("rb") as file:  # opened here because NumPy leaves a damaged file open
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):  # a single array, saved without a name
            return [], {}
        return list(found.files), {name: np.asarray(found[name]) for name in ("images", "labels") if name in found}


LOADERS: dict[str, Callable[..., Data]] = {
    "digits": load_digits,
    "mnist1d": load_mnist1d,
    "npz": load_npz,
    "CIFAR10": load_cifar10,
    "CIFAR100": load_cifar100,
    "FashionMNIST": load_fashion_mnist,
    "ImageFolder": load_folder,
    "images": load_images,
    "noise": load_noise,
}
"""Names to loader functions."""
