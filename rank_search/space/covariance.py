"""Second moments of layer inputs, from a few unlabelled batches: the metric of activation-aware errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import CovarianceError
from rank_search.space.layer import KINDS


def input_covariances(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """``E[x x^T]`` of the input channels of every convolution and linear layer, over samples and positions.

    Not centred. Correlations between pixels are left out: of a convolution it is the channels' matrix, not that of
    its patches (docs/methods.md).

    Args:
        model: any network; left as it was.
        batches: inputs ``[N, ...]``, a few hundred samples in all; no labels.

    Returns:
        By layer name ``[groups, Ci / groups, Ci / groups]``, float64; layers that no batch runs are missing.

    Raises:
        CovarianceError: if there is no batch, or the model cannot run one.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    layers = {name: module for name, module in model.named_modules() if type(module) in KINDS}
    handles = [module.register_forward_hook(_adder(sums, counts, name)) for name, module in layers.items()]
    training = {module: module.training for module in model.modules()}
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    shape: list[int] | None = None
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
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
    if shape is None:
        raise CovarianceError("there is no calibration batch: give at least one, [N, ...] as the model takes it")
    return {name: total / counts[name] for name, total in sums.items()}


def _adder(sums: dict[str, Tensor], counts: dict[str, int], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        x = inputs[0]
        groups = getattr(module, "groups", 1)
        axes = len(getattr(module, "kernel_size", ()))
        channels = x.movedim(x.ndim - 1 - axes, -1).reshape(-1, groups, x.shape[x.ndim - 1 - axes] // groups)
        rows = channels.transpose(0, 1)  # [groups, positions, Ci / groups]
        moment = (rows.transpose(1, 2) @ rows).double().cpu()
        sums[name] = sums[name] + moment if name in sums else moment
        counts[name] = counts.get(name, 0) + rows.shape[1]

    return add
