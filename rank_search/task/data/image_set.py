"""Labelled images in memory, as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rank_search.errors import DataError
from rank_search.task.data.sampling import Indices, balanced_order, stratified_order


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels.

    Args:
        images: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``, from 0.

    Raises:
        DataError: if a dtype or shape is another, the lengths differ, there is no image, or a label is negative.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        _expect("images", self.images, torch.uint8, "[N, C, H, W]", 4)
        _expect("labels", self.labels, torch.int64, "[N]", 1)
        if len(self.images) != len(self.labels):
            raise DataError(f"there are {len(self.images)} images and {len(self.labels)} labels; each image needs one")
        if self.images.numel() == 0:
            raise DataError(f"there are no images (shape {list(self.images.shape)}); give at least one")
        if (lowest := int(self.labels.min())) < 0:
            raise DataError(f"a label is {lowest}; labels count from 0")

    @classmethod
    def from_arrays(cls, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> ImageSet:
        """From arrays in the layout of image files.

        Args:
            images: uint8 ``[N, H, W, C]``.
            labels: any integer dtype, ``[N]``.

        Raises:
            DataError: as the constructor.
        """
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(f"images are {images.dtype} {list(images.shape)}; expected uint8 [N, H, W, C]")
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise DataError(f"labels are {labels.dtype} {list(labels.shape)}; expected integers [N]")
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return cls(torch.from_numpy(planes), torch.from_numpy(labels.astype(np.int64)))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ImageSet({len(self)} images of {list(self.images.shape[1:])}, {int(self.labels.max()) + 1} classes)"

    def subset(self, n: int, seed: int) -> ImageSet:
        """A fixed random subset of ``n`` images, equally many of each class as far as they last; all if ``n >= len``.

        With one seed, a smaller subset is part of a larger one.

        Raises:
            DataError: if ``n`` is not positive, or the seed not from 0 to 2**32 - 1.
        """
        if n < 1:
            raise DataError(f"a subset of {n} images was asked for; ask for at least 1")
        return self if n >= len(self) else self._take(balanced_order(self.labels.cpu().numpy(), seed)[:n])

    def hold_out(self, n: int, seed: int) -> tuple[ImageSet, ImageSet]:
        """Splits off ``n`` random images, every class in its share of the whole, to within one image.

        Returns:
            The rest and the ``n`` that were held out.

        Raises:
            DataError: if ``n`` leaves one of the two empty, or the seed is not from 0 to 2**32 - 1.
        """
        if not 0 < n < len(self):
            raise DataError(f"cannot hold out {n} of {len(self)} images; hold out from 1 to {len(self) - 1}")
        order = stratified_order(self.labels.cpu().numpy(), seed)
        return self._take(order[n:]), self._take(order[:n])

    def _take(self, indices: Indices) -> ImageSet:
        chosen = torch.from_numpy(np.sort(indices)).to(self.images.device)
        return ImageSet(self.images[chosen], self.labels[chosen])


def _expect(name: str, tensor: object, dtype: torch.dtype, shape: str, ndim: int) -> None:
    if not isinstance(tensor, Tensor):
        raise DataError(f"{name} are of type {type(tensor).__name__}; expected a tensor {dtype} {shape}")
    if tensor.dtype != dtype or tensor.ndim != ndim:
        raise DataError(f"{name} are {tensor.dtype} {list(tensor.shape)}; expected {dtype} {shape}")
