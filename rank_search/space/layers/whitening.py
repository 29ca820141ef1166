"""The metric of activation-aware errors: the second moment of a layer's input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rank_search.errors import CovarianceError

RIDGE = 1e-3
"""Added to the second moment, as a fraction of its mean diagonal: channels that never fire keep a small weight."""


@dataclass(frozen=True)
class Whitening:
    """Args:
    root: ``[groups, Ci / groups, Ci / groups]``, symmetric, float64, ``scale root @ root`` = second moment + ridge.
    inverse: its inverse.
    scale: the mean diagonal of the second moment, kept apart so that factors are of the weight's size; 0 for an input
        that is always zero.
    moment: the second moment itself, which names what is cached: roots depend on the machine in their last bits.
    """

    root: Tensor
    inverse: Tensor
    scale: float
    moment: Tensor

    @classmethod
    def of(cls, name: str, moment: Tensor, groups: int, channels: int) -> Whitening:
        """The whitening of a second moment ``E[x x^T]`` of the input channels (SVD-LLM, BALF: docs/methods.md).

        Args:
            name: of the layer, for messages.
            moment: ``[groups, Ci / groups, Ci / groups]``.
            groups, channels: what the layer has: groups and Ci / groups.

        Raises:
            CovarianceError: if the shape is another one, a number is not finite, or the matrix is not a second moment.
        """
        expected = (groups, channels, channels)
        if tuple(moment.shape) != expected:
            raise CovarianceError(
                f"the input covariance of layer {name!r} has shape {list(moment.shape)}, expected {list(expected)}: "
                "[groups, Ci / groups, Ci / groups]"
            )
        exact = moment.detach().cpu().double()
        if not exact.isfinite().all():
            raise CovarianceError(
                f"the input covariance of layer {name!r} has {int((~exact.isfinite()).sum())} entries that are NaN or "
                "infinite: is the calibration data finite, and does the network run it without overflow?"
            )
        exact = (exact + exact.transpose(1, 2)) / 2
        scale = float(exact.diagonal(dim1=1, dim2=2).mean())
        size = float(exact.abs().max())
        values, vectors = torch.linalg.eigh(exact / size if size else exact)
        if (values < -1e-6 * channels).any():
            raise CovarianceError(
                f"the input covariance of layer {name!r} has the negative eigenvalue {float(values.min()) * size:.3g}: "
                "a second moment has none"
            )
        relative = values.clamp_min(0) * (size / scale) if scale else torch.ones_like(values)
        roots = (relative + RIDGE).sqrt()[:, None, :]
        turned = vectors.transpose(1, 2)
        return cls(vectors * roots @ turned, vectors / roots @ turned, scale, exact)
