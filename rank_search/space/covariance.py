"""Second moments of layer inputs, from a few unlabelled batches: the metric of activation-aware errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import CovarianceError
from rank_search.space.layer import KINDS


def input_covariances(model: nn.Module, batches: Iterable[Tensor], centred: bool = False) -> dict[str, Tensor]:
    """``E[x x^T]`` of the input channels of every convolution and linear layer, over samples and positions.

    Correlations between pixels are left out: of a convolution it is the channels' matrix, not that of
    its patches (docs/methods.md).

    Args:
        model: any network; left as it was.
        batches: inputs ``[N, ...]``, a few hundred samples in all; no labels.
        centred: subtracts the means' product: right where a batch norm that is recalibrated takes the mean error away,
            wrong without one.

    Returns:
        By layer name ``[groups, Ci / groups, Ci / groups]``, float64; layers that no batch runs are missing.

    Raises:
        CovarianceError: if there is no batch, or the model cannot run one.
    """
    found: dict[str, _Moments] = {}
    layers = {name: module for name, module in model.named_modules() if type(module) in KINDS}
    handles = [module.register_forward_hook(_adder(found, name)) for name, module in layers.items()]
    training = {module: module.training for module in model.modules()}
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    shape: list[int] | str = "unknown"
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                if not isinstance(batch, Tensor):
                    raise TypeError(f"it is a {type(batch).__name__}, not a tensor: give the inputs without labels")
                shape = list(batch.shape)
                model(batch.to(device))
    except Exception as error:
        raise CovarianceError(
            f"the model cannot run the calibration batch of shape {shape}: {type(error).__name__}: "
            + " ".join(str(error).split())
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    if not isinstance(shape, list):
        raise CovarianceError("there is no calibration batch: give at least one, [N, ...] as the model takes it")
    return {name: moments.matrix(centred) for name, moments in found.items()}


class _Moments:
    """Sums over all positions so far, float64."""

    def __init__(self) -> None:
        self._count = 0
        self._first: Tensor | float = 0.0  # [groups, Ci / groups]
        self._second: Tensor | float = 0.0  # [groups, Ci / groups, Ci / groups]

    def add(self, rows: Tensor) -> None:
        """Adds inputs ``[groups, positions, Ci / groups]``."""
        self._count += rows.shape[1]
        self._first = rows.sum(1).double().cpu() + self._first
        self._second = (rows.transpose(1, 2) @ rows).double().cpu() + self._second

    def matrix(self, centred: bool) -> Tensor:
        assert isinstance(self._first, Tensor)
        assert isinstance(self._second, Tensor)
        mean, second = self._first / self._count, self._second / self._count
        return second - mean[:, :, None] * mean[:, None, :] if centred else second


def _adder(found: dict[str, _Moments], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        x = inputs[0]
        channels_axis = x.ndim - 1 - len(getattr(module, "kernel_size", ()))
        groups = getattr(module, "groups", 1)
        rows = x.movedim(channels_axis, -1).reshape(-1, groups, x.shape[channels_axis] // groups)
        exact = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
        found.setdefault(name, _Moments()).add(exact.transpose(0, 1))

    return add
