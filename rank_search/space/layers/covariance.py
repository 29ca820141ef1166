"""Second moments of layer inputs, from a few unlabelled batches: the metric of activation-aware errors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import CovarianceError, told
from rank_search.nests import Nest, call, check_nest, described, mapped, moved
from rank_search.running import device_of, evaluating, observed
from rank_search.space.layers.layer import KINDS

ROWS = 65536  # positions that are held in float64 at once
ROUNDING = 1e-12


def input_covariances(
    model: nn.Module, batches: Iterable[Nest], centred: bool = False, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """``E[x x^T]`` of the input channels of convolutions and linear layers, over samples and positions.

    Correlations between pixels are left out: of a convolution it is the channels' matrix, not that of its patches
    (docs/methods.md).

    Args:
        model: any network; left as it was.
        batches: nests of inputs ``[N, ...]``, a few hundred samples in all; no labels.
        centred: subtracts the means' product for the layers whose output a batch norm takes at once: its recalibration
            takes the mean of their error away. The other layers are never centred.
        names: of the layers that are measured; None measures all (a layer of C input channels takes C^2 numbers).

    Returns:
        By layer name ``[groups, Ci / groups, Ci / groups]``, float64; layers that no batch runs are missing.

    Raises:
        CovarianceError: if there is no batch, or the model cannot run one.
    """
    found: dict[str, _Moments] = {}
    layers = layers_of(model, names)
    device = device_of(model)
    normed: set[str] | None = None
    shape = "unknown"
    try:
        with evaluating(model):
            for batch in batches:
                shape = described(batch)
                check_nest(batch, "it")
                if normed is None:
                    normed = (
                        before_norm(model, layers, moved(mapped(batch, lambda tensor: tensor[:1]), device))
                        if centred
                        else set()
                    )
                with observed(layers, after=_adder(found, layers)):
                    call(model, moved(batch, device))
    except Exception as error:
        raise CovarianceError(f"the model cannot run the calibration batch of shape {shape}: {told(error)}") from error
    if normed is None:
        raise CovarianceError("there is no calibration batch: give at least one, [N, ...] as the model takes it")
    return {name: moments.matrix(name in normed) for name, moments in found.items()}


def layers_of(model: nn.Module, names: Collection[str] | None) -> dict[str, nn.Module]:
    """The convolutions and linear layers of these names; None is all."""
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) in KINDS and (names is None or name in names)
    }


class _Moments:
    """Sums over all positions so far, float64."""

    def __init__(self) -> None:
        self._count = 0
        self._first: Tensor | float = 0.0  # [groups, Ci / groups]
        self._second: Tensor | float = 0.0  # [groups, Ci / groups, Ci / groups]

    def add(self, rows: Tensor) -> None:
        """Adds inputs ``[groups, positions, Ci / groups]``."""
        self._count += rows.shape[1]
        for part in torch.split(rows, ROWS, dim=1):
            exact = part.cpu().double()
            self._first = exact.sum(1) + self._first
            self._second = exact.transpose(1, 2) @ exact + self._second

    def matrix(self, centred: bool) -> Tensor:
        assert isinstance(self._first, Tensor)
        assert isinstance(self._second, Tensor)
        mean, second = self._first / self._count, self._second / self._count
        if not centred:
            return second
        noise = ROUNDING * second.diagonal(dim1=1, dim2=2).amax() * torch.eye(second.shape[2], dtype=torch.float64)
        return second - mean[:, :, None] * mean[:, None, :] + noise  # what cancels leaves no negative eigenvalue


def _adder(found: dict[str, _Moments], layers: dict[str, nn.Module]) -> Callable[[str, Any, Any], None]:
    def add(name: str, x: Any, output: Any) -> None:
        module = layers[name]
        channels_axis = x.ndim - 1 - len(getattr(module, "kernel_size", ()))
        groups = getattr(module, "groups", 1)
        rows = x.movedim(channels_axis, -1).reshape(-1, groups, x.shape[channels_axis] // groups)
        found.setdefault(name, _Moments()).add(rows.transpose(0, 1))

    return add


def before_norm(model: nn.Module, layers: dict[str, nn.Module], sample: Nest) -> set[str]:
    """The layers whose every output is the very tensor that a batch norm is given."""
    outputs: list[tuple[str, Tensor]] = []
    normed: list[Tensor] = []
    norms = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    with (
        observed(layers, after=lambda name, given, output: outputs.append((name, output))),
        observed(norms, before=lambda name, given: normed.append(given)),
    ):
        call(model, sample)
    taken = {id(tensor) for tensor in normed}
    others = {name for name, output in outputs if id(output) not in taken}
    return {name for name, _ in outputs} - others
