"""Images in class folders, as ImageNet comes, decoded once into memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import PositiveInt

from rank_search.errors import DataError, one_line
from rank_search.task.data.image_data import ImageData
from rank_search.task.data.image_set import ImageSet
from rank_search.task.data.sampling import Indices, at_most_per_class, stratified_order

if TYPE_CHECKING:
    from PIL import Image

DEFAULT_VALIDATION = 0.1
"""The fraction of train/ that becomes the validation set where val/ has to be the test set."""


def load_folder(
    root: Path,
    size: PositiveInt = 224,
    resize: PositiveInt | None = None,
    validation: int | float | None = None,
    train_per_class: PositiveInt | None = None,
    seed: int = 0,
    mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225),
    crop: int | None = None,
    flip: bool = True,
) -> ImageData:
    """Images in ``train/CLASS/``, ``val/CLASS/`` and, if there is one, ``test/CLASS/``: ``[3, size, size]``.

    Without ``test/``, ``val/`` is the test set and the validation set is split off ``train/``.

    Args:
        root: the folder that holds ``train`` and ``val``.
        size: height and width of the central crop.
        resize: what the shorter side is scaled to before the crop; ``size`` if None (ImageNet's custom: 256 for 224).
        validation: where there is no ``test/``: how many images of ``train/`` (1 or more), or what fraction of them
            (below 1), become the validation set, every class in its share; a tenth if None.
        train_per_class: keep at most so many training images of each class, since all are held in memory.
        seed: of the split and of what is kept.
        mean, std, flip: as in :class:`ImageData`.
        crop: as in :class:`ImageData`; an eighth of ``size`` if None.

    Raises:
        DataError: if a folder is missing or empty, the classes differ, an image cannot be read, memory does not
            suffice, or ``validation`` is given beside ``test/`` or leaves no image to train on.
    """
    if resize is not None and resize < size:
        raise DataError(f"resize is {resize} and size {size}; the crop cannot be larger than the resized image")
    root = root.expanduser()
    train, val = _list(root / "train"), _list(root / "val")
    _check_classes(train, val)
    if (root / "test").exists():
        if validation is not None:
            raise DataError(f"validation={validation} is given, but {root / 'test'} exists: val/ is the validation set")
        test = _list(root / "test")
        _check_classes(train, test)
    else:
        held_out = count_of(DEFAULT_VALIDATION if validation is None else validation, len(train.paths))
        order = stratified_order(train.labels, seed)
        train, val, test = train.take(order[held_out:]), train.take(order[:held_out]), val
    if train_per_class is not None:
        train = train.take(at_most_per_class(train.labels, train_per_class, seed))
    train_set, validation_set, test_set = (decode(listed, size, resize or size) for listed in (train, val, test))
    return ImageData(train_set, validation_set, test_set, mean, std, size // 8 if crop is None else crop, flip)


@dataclass(frozen=True)
class Listed:
    """Image files with their labels ``[N]``, not yet read."""

    folder: Path
    classes: list[str]
    paths: list[str]
    labels: Indices

    def take(self, indices: Indices) -> Listed:
        indices = np.sort(indices)
        return Listed(self.folder, self.classes, [self.paths[i] for i in indices], self.labels[indices])


def _list(folder: Path) -> Listed:
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise DataError(f"{folder} does not exist; expected train/ and val/, with one folder of images per class")
    try:
        found = ImageFolder(folder)
    except OSError as error:
        raise DataError(f"{folder} does not have one folder of images per class: {error}") from None
    paths = [path for path, _ in found.samples]
    return Listed(folder, found.classes, paths, np.array(found.targets, dtype=np.int64))


def _check_classes(train: Listed, other: Listed) -> None:
    differing = sorted(set(train.classes) ^ set(other.classes))
    if differing:
        owner, lacking = (train, other) if differing[0] in train.classes else (other, train)
        raise DataError(
            f"the classes differ ({len(differing)} in all): {owner.folder} has {differing[0]!r} and {lacking.folder} "
            "has not; the folders must hold the same classes"
        )


def count_of(validation: int | float, available: int) -> int:
    """How many images are held out.

    Raises:
        DataError: if none, or all.
    """
    if 0 < validation < available:  # also false for NaN
        count = round(validation * available) if validation < 1 else int(validation)
        if 0 < count < available and (validation < 1 or count == validation):
            return count
    raise DataError(
        f"validation is {validation}; of {available} training images it must be a number from 1 to {available - 1}, "
        "or a fraction between 0 and 1 that takes and leaves at least one"
    )


def decode(listed: Listed, size: int, resize: int, fewer: str = "train_per_class") -> ImageSet:
    """Reads the images.

    Args:
        listed: which.
        size, resize: as for :func:`load_folder`.
        fewer: the option that takes fewer of them.

    Raises:
        DataError: if one cannot be read, or memory does not suffice.
    """
    from PIL import Image
    from torchvision.transforms import functional as transforms

    try:
        images = np.empty((len(listed.paths), 3, size, size), dtype=np.uint8)
    except MemoryError:
        needed = len(listed.paths) * size * size * 3 / 2**30
        raise DataError(
            f"the {len(listed.paths)} images of {listed.folder} need {needed:.1f} GiB of memory at size {size}; "
            f"set a smaller size or {fewer}"
        ) from None

    def fill(index: int) -> None:
        try:
            with Image.open(listed.paths[index]) as file:
                image = transforms.center_crop(transforms.resize(_eight_bits(file).convert("RGB"), resize), size)
        except Exception as error:  # whatever a decoder may raise on a damaged file
            said = one_line(str(error).replace(repr(listed.paths[index]), "")) or type(error).__name__
            raise DataError(f"cannot read the image {listed.paths[index]}: {said}; mend it or take it away") from None
        images[index] = np.asarray(image).transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(len(listed.paths))):
            pass
    return ImageSet(torch.from_numpy(images), torch.from_numpy(listed.labels))


def _eight_bits(file: Image.Image) -> Image.Image:
    """The picture as it is seen: turned as its camera was held, 16 bits a pixel as 8."""
    from PIL import Image, ImageOps

    image: Image.Image = ImageOps.exif_transpose(file)
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")  # Pillow warns of the direct way, with the same colours
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}, whose range is unknown: save it in 8 or 16 bits")
    return image
