"""The geometry of factors, stated once: parameters, multiply-adds and modules all follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from torch import nn

from rank_search.arrays import IntArray
from rank_search.space.forms.factor_modules import has_bias, kernel, pointwise
from rank_search.space.layers.layer import Layer


@dataclass(frozen=True)
class FactorShape:
    """One factor of n rank tuples at once.

    Args:
        into, out: channels over all groups, ``[n]``.
        groups: ``[n]``, or one number for all.
        axes: the kernel axes of the dense layer that this factor has, with their stride, padding and dilation; none is
            a 1x1 convolution, or a linear layer.
    """

    into: IntArray | int
    out: IntArray | int
    groups: IntArray | int = 1
    axes: tuple[int, ...] = ()

    def weights(self, layer: Layer) -> IntArray:
        """Weights without bias, ``[n]``."""
        taps = prod(layer.kernel[axis] for axis in self.axes)
        return np.asarray(self.into // self.groups * self.out * taps, dtype=np.int64)


Shapes = Sequence[FactorShape]
"""The factors in the order they run; together they have every kernel axis once."""


def all_axes(layer: Layer) -> tuple[int, ...]:
    """Every axis of the layer's kernel; none of a linear layer."""
    return tuple(range(len(layer.kernel)))


def params(layer: Layer, shapes: Shapes) -> IntArray:
    """Weights of all factors without bias, ``[n]``."""
    total: IntArray = np.sum([shape.weights(layer) for shape in shapes], axis=0, dtype=np.int64)
    return total


def macs(layer: Layer, shapes: Shapes) -> IntArray:
    """Multiply-adds of all factors for one sample, ``[n]``.

    A kernel is applied at every pixel that it puts out; a transposed one at every pixel that it is given.
    """
    total: IntArray = np.zeros((), dtype=np.int64)
    applied: tuple[int, ...] = ()
    for shape in shapes:
        after = (*applied, *shape.axes)
        total = total + layer.positions(applied if layer.transposed else after) * shape.weights(layer)
        applied = after
    return total


def modules(dense: nn.Module, shapes: Shapes) -> list[nn.Module]:
    """The layers of ONE rank tuple, weights on the meta device; the last one has the dense layer's bias."""
    found = []
    for position, shape in enumerate(shapes):
        into, out, groups = (int(np.asarray(value).reshape(-1)[0]) for value in (shape.into, shape.out, shape.groups))
        bias = has_bias(dense) and position == len(shapes) - 1
        if shape.axes:
            found.append(kernel(dense, into, out, groups, bias, shape.axes))
        else:
            found.append(pointwise(dense, into, out, groups, bias))
    return found
