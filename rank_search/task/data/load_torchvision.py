"""Data sets that torchvision reads, from files that are already there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rank_search.errors import DataError
from rank_search.task.data.image_data import ImageData
from rank_search.task.data.image_set import ImageSet

FILES = {
    "CIFAR10": "the folder cifar-10-batches-py (unpacked from cifar-10-python.tar.gz)",
    "CIFAR100": "the folder cifar-100-python (unpacked from cifar-100-python.tar.gz)",
    "FashionMNIST": "FashionMNIST/raw/ with train- and t10k- images-idx3-ubyte and labels-idx1-ubyte (unpacked)",
}
"""What each data set looks for under its root."""


def load_cifar10(
    root: Path,
    validation: int = 5000,
    seed: int = 0,
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465),
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616),
    crop: int = 4,
    flip: bool = True,
) -> ImageData:
    """CIFAR-10: ``[3, 32, 32]``, 10 classes, 50,000 images to train and validate, 10,000 to test.

    Args:
        root: the folder that holds ``cifar-10-batches-py``.
        validation: images to hold out of the training images, every class in its share.
        seed: of the split.
        mean, std, crop, flip: as in :class:`ImageData`.

    Raises:
        DataError: if the files are missing or damaged.
    """
    return _load("CIFAR10", root, validation, seed, mean, std, crop, flip)


def load_cifar100(
    root: Path,
    validation: int = 5000,
    seed: int = 0,
    mean: tuple[float, ...] = (0.5071, 0.4865, 0.4409),
    std: tuple[float, ...] = (0.2673, 0.2564, 0.2762),
    crop: int = 4,
    flip: bool = True,
) -> ImageData:
    """CIFAR-100: ``[3, 32, 32]``, 100 classes, 50,000 images to train and validate, 10,000 to test.

    Args and raises: as :func:`load_cifar10`; the folder is ``cifar-100-python``.
    """
    return _load("CIFAR100", root, validation, seed, mean, std, crop, flip)


def load_fashion_mnist(
    root: Path,
    validation: int = 5000,
    seed: int = 0,
    mean: tuple[float, ...] = (0.2860,),
    std: tuple[float, ...] = (0.3530,),
    crop: int = 2,
    flip: bool = True,
) -> ImageData:
    """Fashion-MNIST: ``[1, 28, 28]``, 10 classes, 60,000 images to train and validate, 10,000 to test.

    Args and raises: as :func:`load_cifar10`; the folder is ``FashionMNIST/raw``.
    """
    return _load("FashionMNIST", root, validation, seed, mean, std, crop, flip)


def _load(
    name: str,
    root: Path,
    validation: int,
    seed: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    crop: int,
    flip: bool,
) -> ImageData:
    rest, held_out = _read(name, root, train=True).hold_out(validation, seed)
    return ImageData(rest, held_out, _read(name, root, train=False), mean, std, crop, flip)


def _read(name: str, root: Path, train: bool) -> ImageSet:
    from torchvision import datasets

    root = root.expanduser()
    try:
        found = getattr(datasets, name)(root, train=train, download=False)
    except Exception as error:  # torchvision says "not found" and "damaged" with many kinds of errors
        raise DataError(
            f"{name} is missing or damaged under {root.resolve()}: put there {FILES[name]}; nothing is downloaded "
            f"({type(error).__name__})"
        ) from error
    images = np.asarray(found.data)
    return ImageSet.from_arrays(images if images.ndim == 4 else images[..., None], np.asarray(found.targets))
