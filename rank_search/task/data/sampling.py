"""Seeded orders of labelled samples, whose first n are a fair selection for every n.

NumPy's ``RandomState`` draws them because its stream is frozen: a seed names the same samples in every version.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rank_search.errors import DataError

Indices = npt.NDArray[np.int64]


def balanced_order(labels: Indices, seed: int) -> Indices:
    """A random order in which the classes take turns: the first n have equally many of each class, while they last.

    Args:
        labels: ``[N]``.
        seed: 0 to 2**32 - 1.

    Returns:
        A permutation of ``0 .. N - 1``.

    Raises:
        DataError: if the seed is out of range.
    """
    order, rank, _ = _ranked(labels, seed)
    return order[np.argsort(rank, kind="stable")]


def stratified_order(labels: Indices, seed: int) -> Indices:
    """A random order whose first n have each class in its share of the whole, to within one sample.

    Args, returns and raises: as :func:`balanced_order`.
    """
    order, rank, size = _ranked(labels, seed)
    return order[np.argsort((rank + 0.5) / size, kind="stable")]


def random_order(count: int, seed: int) -> Indices:
    """A random order of ``count`` samples without labels.

    Raises:
        DataError: if the seed is out of range.
    """
    return _ranked(np.zeros(count, dtype=np.int64), seed)[0]


def at_most_per_class(labels: Indices, n: int, seed: int) -> Indices:
    """A random choice of ``n`` samples of each class, or all of a class that has fewer.

    Returns:
        Their indices.

    Raises:
        DataError: if the seed is out of range.
    """
    order, rank, _ = _ranked(labels, seed)
    return order[rank < n]


def _ranked(labels: Indices, seed: int) -> tuple[Indices, Indices, Indices]:
    """A random order, and per place in it the sample's rank among those of its class and the class's size."""
    if not 0 <= seed < 2**32:
        raise DataError(f"the seed is {seed}; it must be from 0 to 2**32 - 1")
    order = np.random.RandomState(seed).permutation(len(labels)).astype(np.int64)
    shuffled = labels[order]
    by_class = np.argsort(shuffled, kind="stable")
    _, starts, sizes = np.unique(shuffled[by_class], return_index=True, return_counts=True)
    rank, size = np.empty_like(order), np.empty_like(order)
    rank[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    size[by_class] = np.repeat(sizes, sizes)
    return order, rank, size
