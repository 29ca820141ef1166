"""A folder of images for a network: which size they become, and whether its folders are classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import InvalidInputError
from rank_search.nests import Nest
from rank_search.run.compression.defaults import objective_without_labels, outputs_of
from rank_search.task import Data
from rank_search.task.data.load_images import list_images, load_images

SIZES = {"cifar_resnet": ((3, 32, 32), None), "torchvision:": ((3, 224, 224), 256)}
"""Inputs of families of networks, and what the shorter side of an image is scaled to before the crop."""
MODULES = {"rank_search.task.networks.cifar_resnet": "cifar_resnet", "torchvision.models": "torchvision:"}
"""The code of these families."""


def image_section(
    images: Path,
    shape: tuple[int, ...],
    resize: int | None,
    labels: bool | None,
    most: int | None,
    network: nn.Module,
    outputs: Tensor,
) -> tuple[dict[str, Any], str]:
    """The ``data`` of a config, and the objective.

    Args:
        images, labels: as for ``load_images``; None: folders are classes if the network has as many outputs.
        shape: of an input.
        resize: what the shorter side is scaled to before the crop; None: to the size.
        most: read at most so many.
        network: to be compressed.
        outputs: its own, of one input.

    Raises:
        InvalidInputError: if images cannot be its inputs, or classes its outputs.
        DataError: if the folder is none.
    """
    without = objective_without_labels(outputs)
    if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
        raise InvalidInputError(
            f"images become inputs 3,SIZE,SIZE, and {type(network).__name__} is given {','.join(map(str, shape))}: "
            "use rank_search.compress_model with inputs of your own"
        )
    classes = len(list_images(images, labels).classes)
    if classes and (outputs.ndim != 2 or outputs.shape[1] != classes):
        if labels:
            raise InvalidInputError(
                f"{images} has {classes} folders of classes, and the outputs of {type(network).__name__} are "
                f"{list(outputs.shape[1:])}: which is which cannot be known; use --no-labels"
            )
        classes = 0
    section: dict[str, Any] = {
        "name": "images",
        "root": absolute(images),
        "labels": bool(classes),
        "size": shape[1],
    }
    if resize is not None:
        section["resize"] = resize
    if most is not None:
        section["images"] = most
    return section, "classification" if classes else without


def image_folder(root: Path, network: nn.Module, example: Nest, seed: int) -> Data:
    """The images of a folder as ``rank-search compress`` reads them, normalised as ImageNet's.

    Args:
        root: of the images.
        network: that they are for.
        example: an input ``[1, 3, SIZE, SIZE]``; None: that of the family, if the network is of one that is known.
        seed: of the split.

    Raises:
        InvalidInputError: if the size is not known, or images do not fit the network.
        DataError: if the folder is none.
    """
    list_images(root)  # that it is one is said first
    kind = type(network).__module__
    family = next((family for module, family in MODULES.items() if f"{kind}.".startswith(f"{module}.")), None)
    if isinstance(example, Tensor) and example.ndim > 1:
        shape, resize = tuple(example.shape[1:]), None
    elif example is None and family is not None:
        shape, resize = SIZES[family]
    else:
        raise InvalidInputError(
            f"the size of the images in {root} is not known: give example=torch.zeros(1, 3, SIZE, SIZE) as "
            f"{type(network).__name__} takes it, or rank_search.load_data('images', root=..., size=...) as data"
        )
    outputs = outputs_of(network, torch.zeros(1, *shape))
    section, _ = image_section(root, shape, resize, None, None, network, outputs)
    del section["name"]
    return load_images(**{**section, "root": Path(section["root"]), "seed": seed})


def absolute(path: Path) -> str:
    """Whatever folder the result is used from."""
    return str(path.expanduser().resolve())
