"""First and second moments of rows that are seen batch by batch: all that a least-squares fit needs of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 8192  # that are multiplied at once


@dataclass(frozen=True)
class Statistics:
    """Averages over all rows, float64 on the CPU, per group of the layer.

    Args:
        count: rows.
        mean_x, mean_y: ``[groups, features]`` and ``[groups, outputs]``; zero where nothing was taken off.
        xx: ``E[x x^T]``, ``[groups, features, features]``, about these means.
        yx: ``E[y x^T]``, ``[groups, outputs, features]``.
        yy: ``E[y y]``, ``[groups, outputs]``.
    """

    count: int
    mean_x: Tensor
    mean_y: Tensor
    xx: Tensor
    yx: Tensor
    yy: Tensor

    @property
    def finite(self) -> bool:
        return all(bool(part.isfinite().all()) for part in (self.mean_x, self.mean_y, self.xx, self.yx, self.yy))

    def of(self, features: Tensor) -> Statistics:
        """Of features ``[groups, k, features]`` of x in its place."""
        turned = features.transpose(1, 2)
        mean = (features @ self.mean_x[:, :, None])[:, :, 0]
        return Statistics(self.count, mean, self.mean_y, features @ self.xx @ turned, self.yx @ turned, self.yy)

    def error(self, weight: Tensor) -> float:
        """``E ||y - W x||^2`` over all groups, for ``W [groups, outputs, features]``."""
        return float(((weight @ self.xx - 2 * self.yx) * weight).sum() + self.yy.sum())


class Moments:
    """Sums over the rows so far, about the means of the first rows, so that nothing cancels."""

    def __init__(self) -> None:
        self._count = 0
        self._shift: tuple[Tensor, Tensor] | None = None
        self._sums: list[Tensor] = []

    def add(self, x: Tensor, y: Tensor) -> None:
        """Adds rows ``[groups, n, features]`` and ``[groups, n, outputs]``; products in their own precision."""
        if not x.shape[1]:
            return
        if self._shift is None:
            self._shift = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        x, y = x - self._shift[0], y - self._shift[1]
        self._count += x.shape[1]
        for xs, ys in zip(torch.split(x, ROWS, 1), torch.split(y, ROWS, 1), strict=True):
            turned = xs.transpose(1, 2)
            parts = [xs.sum(1), ys.sum(1), turned @ xs, ys.transpose(1, 2) @ xs, ys.square().sum(1)]
            exact = [part.cpu().double() for part in parts]
            self._sums = [a + b for a, b in zip(self._sums, exact, strict=True)] if self._sums else exact

    def joined(self, other: Moments) -> Moments:
        """Of the rows of both."""
        if not (self._count and other._count):
            return self if self._count else other
        result = Moments()
        result._count, result._shift = self._count + other._count, self._shift
        assert self._shift is not None
        assert other._shift is not None
        dx, dy = (
            a[:, 0].cpu().double() - b[:, 0].cpu().double() for a, b in zip(other._shift, self._shift, strict=True)
        )
        n = other._count
        sum_x, sum_y, xx, yx, yy = other._sums
        moved = [
            sum_x + n * dx,
            sum_y + n * dy,
            xx + _outer(sum_x, dx) + _outer(dx, sum_x) + n * _outer(dx, dx),
            yx + _outer(sum_y, dx) + _outer(dy, sum_x) + n * _outer(dy, dx),
            yy + 2 * sum_y * dy + n * dy.square(),
        ]
        result._sums = [a + b for a, b in zip(self._sums, moved, strict=True)]
        return result

    @property
    def count(self) -> int:
        """Rows so far."""
        return self._count

    def statistics(self, centred: bool) -> Statistics:
        """The averages: about the means, or about zero."""
        assert self._shift is not None
        shift_x, shift_y = (part[:, 0].cpu().double() for part in self._shift)
        sum_x, sum_y, xx, yx, yy = (part / self._count for part in self._sums)
        xx, yx = xx - _outer(sum_x, sum_x), yx - _outer(sum_y, sum_x)
        yy = yy - sum_y.square()
        mean_x, mean_y = shift_x + sum_x, shift_y + sum_y
        if centred:
            return Statistics(self._count, mean_x, mean_y, xx, yx, yy.clamp_min(0))
        about_zero = xx + _outer(mean_x, mean_x), yx + _outer(mean_y, mean_x), yy + mean_y.square()
        return Statistics(self._count, torch.zeros_like(mean_x), torch.zeros_like(mean_y), *about_zero)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return left[:, :, None] * right[:, None, :]


def wide(tensor: Tensor) -> Tensor:
    """Half precision is too narrow to sum in."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
