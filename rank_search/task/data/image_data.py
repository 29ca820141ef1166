"""Images as data: three sets, and how they become batches that a network sees."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rank_search.errors import DataError
from rank_search.task.batch import Batch
from rank_search.task.data.data import Data, epoch_parts, parts_in_order
from rank_search.task.data.image_set import ImageSet


@dataclass(frozen=True, eq=False)
class ImageData(Data):
    """Sets of images with their normalisation and augmentation.

    Args:
        train, validation: the sets that a search may use.
        test: the set that only the final measurement may use, or None.
        mean, std: per channel, of images scaled to ``[0, 1]``.
        crop: a training image is shifted by up to so many pixels each way; what comes in is zero, before normalisation.
        flip: whether a training image is mirrored left to right with probability 1/2.
        labelled: whether labels mean something; without, batches have no targets.

    Raises:
        DataError: if the sets' shapes differ, ``mean`` or ``std`` do not fit the channels, ``std`` is not positive,
            ``crop`` is negative or not less than the image, or the test set has labels that the others lack.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: int = 0
    flip: bool = False
    labelled: bool = True

    def __post_init__(self) -> None:
        shape = self.train.images.shape[1:]
        for name, other in (("validation", self.validation), ("test", self.test)):
            if other is not None and other.images.shape[1:] != shape:
                raise DataError(
                    f"{name} images are {list(other.images.shape[1:])} and train images {list(shape)} "
                    "[C, H, W]; all must be alike"
                )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != shape[0]:
                raise DataError(f"{name} has {len(values)} values; the images have {shape[0]} channels")
            if not all(map(math.isfinite, values)):
                raise DataError(f"{name} is {list(values)}; all values must be finite")
        if min(self.std) <= 0:
            raise DataError(f"std is {list(self.std)}; all values must be positive")
        if not 0 <= self.crop < min(shape[1:]):
            raise DataError(f"crop is {self.crop}; it must be at least 0 and less than the images, {list(shape[1:])}")
        if self.test is not None and (highest := int(self.test.labels.max())) >= self.classes:
            raise DataError(f"a test label is {highest}; train and validation labels end at {self.classes - 1}")

    def __repr__(self) -> str:
        sets = ", ".join(f"{name}={len(s)}" for name, s in self._sets() if s is not None)
        classes = f"{self.classes} classes" if self.labelled else "no labels"
        return f"ImageData({sets}; images {list(self.train.images.shape[1:])}, {classes})"

    def _sets(self) -> list[tuple[str, ImageSet | None]]:
        return [("train", self.train), ("validation", self.validation), ("test", self.test)]

    @property
    def classes(self) -> int:
        """One more than the highest label of the train and validation sets."""
        return 1 + max(int(self.train.labels.max()), int(self.validation.labels.max()))

    def without_test(self) -> ImageData:
        """The same data, from which a searcher cannot reach the test set."""
        return dataclasses.replace(self, test=None)

    def normalise(self, images: Tensor) -> Tensor:
        """``(images / 255 - mean) / std``.

        Args:
            images: uint8 ``[B, C, H, W]``.

        Returns:
            float32 ``[B, C, H, W]``, on the same device, channels last in memory, which convolutions on a CPU prefer.

        Raises:
            DataError: if the images are of another dtype or number of channels.
        """
        self._check_images(images)
        mean = torch.tensor(self.mean, dtype=torch.float32, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float32, device=images.device).view(1, -1, 1, 1)
        normalised = images.to(torch.float32).div_(255).sub_(mean).div_(std)
        return normalised.contiguous(memory_format=torch.channels_last)

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Shifts and mirrors each image at random, as ``crop`` and ``flip`` say.

        Args:
            images: uint8 ``[B, C, H, W]``.
            generator: where all randomness comes from.

        Returns:
            uint8 ``[B, C, H, W]``; the very images if there is nothing to do.

        Raises:
            DataError: if the images are of another dtype or number of channels.
        """
        self._check_images(images)
        count, _, height, width = images.shape
        each = torch.arange(count, device=images.device)
        if self.crop:
            padded = F.pad(images, (self.crop,) * 4)
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view [B, C, 2 crop + 1, 2 crop + 1, H, W]
            down, right = _draw(2 * self.crop + 1, (2, count), generator).to(images.device)
            images = windows[each, :, down, right]
        if self.flip:
            mirrored = _draw(2, (count, 1, 1, 1), generator).to(images.device).bool()
            images = torch.where(mirrored, images.flip(3), images)
        return images

    def train_batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch: every training image once, shuffled, augmented and normalised.

        A single image that would be left over joins the batch before it, for batch norm cannot train on one.

        Args:
            batch_size: at least 2.
            generator: where all randomness comes from.

        Yields:
            float32 ``[B, C, H, W]`` and int64 ``[B]``.

        Raises:
            DataError: if ``batch_size`` or the training set is less than 2.
        """
        parts = epoch_parts(len(self.train), batch_size, generator, self.train.images.device)
        return (
            self._batch(self.augment(self.train.images[part], generator), self.train.labels[part]) for part in parts
        )

    def batches(self, image_set: ImageSet, batch_size: int) -> Iterator[Batch]:
        """A set in its order, normalised and not augmented.

        Yields:
            float32 ``[B, C, H, W]`` and int64 ``[B]``; the last batch may be smaller.

        Raises:
            DataError: if ``batch_size`` is less than 1.
        """
        parts = parts_in_order(len(image_set), batch_size)
        return (self._batch(image_set.images[part], image_set.labels[part]) for part in parts)

    def fingerprint(self) -> tuple[list[str], list[Tensor]]:
        texts = [str(self.mean), str(self.std), str(self.crop), str(self.flip)]
        return [*texts, *([] if self.labelled else ["no labels"])], [self.train.images, self.train.labels]

    def _batch(self, images: Tensor, labels: Tensor) -> Batch:
        return Batch(self.normalise(images), labels if self.labelled else None)

    def _check_images(self, images: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != len(self.mean):
            raise DataError(
                f"images are {images.dtype} {list(images.shape)}; expected torch.uint8 [B, {len(self.mean)}, H, W]"
            )


def _draw(high: int, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(high, size, generator=generator, device=generator.device)
