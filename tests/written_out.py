"""Gated weights written out: unfoldings entry by entry, gates between singular vectors from the SVD, float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.layers.layer import Layer

Case = tuple[Decomposition, Layer]
Gate = Callable[[Tensor], Tensor]
"""From the singular values ``[k]`` of one matrix to gates ``[k]``."""


def hard(rank: int) -> Gate:
    """1 for the first components."""
    return lambda values: (torch.arange(len(values)) < rank).double()


def soft(rank: int) -> Gate:
    """``max(0, 1 - tau / s)`` with the first dropped singular value as tau."""
    return lambda values: (1 - values[rank] / values).clamp_min(0) if rank < len(values) else torch.ones_like(values)


def unfoldings(case: Case, tensor: Tensor) -> list[list[Tensor]]:
    """Per mode the matrix of every group, entry by entry."""
    form, layer = case
    (out, into), taps = layer.group_channels, layer.taps
    if form.name == "tucker2":
        first = [torch.stack([group[o].reshape(-1) for o in range(out)]) for group in tensor]
        second = [torch.stack([group[:, i].reshape(-1) for i in range(into)]) for group in tensor]
        return [first, second]
    if form.name != "svd_spatial":
        return [[group.reshape(out, into * taps) for group in tensor]]
    (height, width), found = layer.kernel, []
    for group in tensor:
        matrix = torch.zeros(into * height, out * width, dtype=torch.float64)
        for o, i, h, w in product(range(out), range(into), range(height), range(width)):
            matrix[i * height + h, o * width + w] = group[o, i, h * width + w]
        found.append(matrix)
    return [found]


def folded(case: Case, matrices: Sequence[Tensor]) -> Tensor:
    """The canonical weight of the matrices of a form with one mode: every entry looked up in a tensor of places."""
    _, layer = case
    places = torch.arange(layer.dense_params, dtype=torch.float64).reshape(layer.groups, *layer.group_channels, -1)
    flat = torch.zeros(layer.dense_params, dtype=torch.float64)
    for where, matrix in zip(unfoldings(case, places)[0], matrices, strict=True):
        flat[where.long()] = matrix
    return flat.reshape(places.shape)


def gated(case: Case, tensor: Tensor, gates: Sequence[Sequence[Gate]]) -> Tensor:
    """The weight under ``U diag(g(s)) U^T`` on every mode of every group; ``gates`` maps singular values to gates."""
    projections: list[list[Tensor]] = []
    for matrices, maps in zip(unfoldings(case, tensor), gates, strict=True):
        projections.append([])
        for matrix, gate in zip(matrices, maps, strict=True):
            left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
            projections[-1].append(left @ torch.diag(gate(values)) @ left.T)
    if len(projections) == 2:
        return torch.einsum("goa,gabt,gbi->goit", torch.stack(projections[0]), tensor, torch.stack(projections[1]))
    products = [left @ matrix for left, matrix in zip(projections[0], unfoldings(case, tensor)[0], strict=True)]
    return folded(case, products)
