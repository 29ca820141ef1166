"""Images in a folder of any kind: a heap of files without labels, or a folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from rank_search.errors import DataError
from rank_search.task.data.image_data import ImageData
from rank_search.task.data.load_folder import Listed, count_of, decode
from rank_search.task.data.sampling import balanced_order, random_order, stratified_order

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

SETS = ("train", "training", "val", "valid", "validation", "test", "testing")


def load_images(
    root: Path,
    labels: bool | None = None,
    images: PositiveInt | None = None,
    size: PositiveInt = 224,
    resize: PositiveInt | None = None,
    validation: int | float = 0.2,
    seed: int = 0,
    mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225),
    crop: int | None = None,
    flip: bool = True,
) -> ImageData:
    """All images of a folder, ``[3, size, size]``, a part of which is the validation set.

    Args:
        root: of images, or of one folder of images for every class, numbered by name.
        labels: whether folders are classes; None: if there are any with images, and no image beside them. Without
            labels folders in folders are searched, too.
        images: read at most so many, chosen at random, since all are held in memory; equally many of each class.
        size, resize, mean, std, crop, flip: as for ``ImageFolder``.
        validation: how many images (1 or more), or what fraction (below 1), become the validation set.
        seed: of the choice and the split.

    Raises:
        DataError: if the folder is missing or holds no image, an image cannot be read, or too few are there to split.
    """
    if resize is not None and resize < size:
        raise DataError(f"resize is {resize} and size {size}; the crop cannot be larger than the resized image")
    listed = list_images(root, labels)
    labelled = len(listed.classes) > 0
    if images is not None and images < len(listed.paths):
        balanced = balanced_order(listed.labels, seed) if labelled else random_order(len(listed.paths), seed)
        listed = listed.take(balanced[:images])
    if labelled and len(listed.paths) < 2 * len(listed.classes):
        raise DataError(
            f"{len(listed.paths)} images of {len(listed.classes)} classes are too few to learn and to judge: "
            f"read at least {2 * len(listed.classes)}"
        )
    if len(listed.paths) < 3:
        raise DataError(f"{root} holds {len(listed.paths)} image{'s' * (len(listed.paths) > 1)}; give at least 3")
    held_out = count_of(validation, len(listed.paths))
    order = stratified_order(listed.labels, seed) if labelled else random_order(len(listed.paths), seed)
    train, rest = listed.take(order[held_out:]), listed.take(order[:held_out])
    sets = [decode(part, size, resize or size, "images") for part in (train, rest)]
    return ImageData(sets[0], sets[1], None, mean, std, size // 8 if crop is None else crop, flip, labelled)


def list_images(root: Path | str, labels: bool | None = None) -> Listed:
    """The images of a folder in the order of their names; ``classes`` is empty where they have no labels.

    Args:
        root, labels: as for :func:`load_images`.

    Raises:
        DataError: if there is none.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} {'is no folder' if root.exists() else 'does not exist'}; give a folder of images")
    flat = [path for path in sorted(root.iterdir()) if _is_image(path)]
    below = {folder.name: _below(folder) for folder in sorted(root.iterdir()) if folder.is_dir()}
    classes = {name: paths for name, paths in below.items() if paths}
    if not flat and not classes:
        raise DataError(f"{root} holds no image; images end in {', '.join(SUFFIXES)}")
    sets = [name for name in classes if name.lower() in SETS]
    if labels is not False and len(sets) > 1 and len(sets) == len(classes):
        raise DataError(
            f"the folders of {root} are the sets of a data set, {', '.join(sets)}, and no classes: give one of them, "
            f"such as {root / sets[0]}, or labels=False (--no-labels) for all their images"
        )
    if labels is None:
        labels = len(classes) > 1 and len(classes) == len(below) and not flat
    if not labels:
        paths = sorted([*flat, *(path for found in below.values() for path in found)])
        return Listed(root, [], [*map(str, paths)], np.zeros(len(paths), dtype=np.int64))
    if len(classes) < 2:
        raise DataError(f"{root} has {len(classes)} folders with images, and labels need one for every class")
    empty = sorted({*below} - {*classes})
    if empty:
        raise DataError(
            f"{root / empty[0]} holds no image, and classes are numbered by the folders: fill it, or remove it"
        )
    numbers = np.repeat(np.arange(len(classes)), [len(paths) for paths in classes.values()])
    return Listed(root, [*classes], [str(path) for paths in classes.values() for path in paths], numbers)


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if _is_image(path))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
