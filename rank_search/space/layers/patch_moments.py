"""Second moments of what a layer's weight meets, pixels of a patch together: the metric of errors after a refit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from torch import Tensor, nn

from rank_search.errors import CovarianceError, told
from rank_search.nests import Nest, call, check_nest, described, mapped, moved
from rank_search.running import device_of, evaluating, observed
from rank_search.space.layers.covariance import before_norm, layers_of
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.moments import Moments, wide
from rank_search.space.layers.rows import batched, extents_of, input_rows, picked

ROWS = 2**14
"""Positions of all inputs together that are looked at for one layer."""

WIDEST = 2304
"""Inputs of a weight (channels times taps of a group) whose moments are gathered."""


def patch_moments(
    model: nn.Module, batches: Iterable[Nest], inputs: int, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """``E[x x^T]`` of the patches that convolutions meet, and of the tokens of linear layers.

    Unlike :func:`input_covariances` it has the correlations between the pixels of a patch. It is about the mean where
    the layer has a bias, or a batch norm takes its output at once: a refit takes the mean of the error away there.

    Args:
        model: any network; left as it was.
        batches: unlabelled nests of inputs ``[N, ...]``.
        inputs: how many they are in all.
        names: of the layers; None is all. Those of more than :data:`WIDEST` inputs are left out.

    Returns:
        By layer name ``[groups, Ci / groups * taps, Ci / groups * taps]``, float64.

    Raises:
        CovarianceError: if there is no batch, or the model cannot run one.
    """
    modules = layers_of(model, names)
    layers = {name: Layer.of(name, module) for name, module in modules.items()}
    layers = {name: one for name, one in layers.items() if one.group_channels[1] * one.taps <= WIDEST}
    modules = {name: modules[name] for name in layers}
    found: dict[str, Moments] = {}
    normed: set[str] | None = None
    shape = "unknown"
    try:
        with evaluating(model):
            for batch in batches:
                shape = described(batch)
                count = check_nest(batch, "it")
                given = moved(batch, device_of(model))
                if normed is None:
                    normed = before_norm(model, modules, mapped(given, lambda tensor: tensor[:1]))
                with observed(modules, after=_adder(found, layers, modules, inputs, count)):
                    call(model, given)
    except Exception as error:
        raise CovarianceError(f"the model cannot run the calibration batch of shape {shape}: {told(error)}") from error
    if normed is None:
        raise CovarianceError("there is no calibration batch: give at least one, [N, ...] as the model takes it")
    biased = {name for name, module in modules.items() if module.bias is not None}
    return {name: moments.statistics(name in normed | biased).xx for name, moments in found.items() if moments.count}


def checked_moment(layer: Layer, moment: Tensor) -> Tensor:
    """A layer's moment, float64 on the CPU.

    Raises:
        CovarianceError: if it has another shape, or numbers that are not finite.
    """
    size = layer.group_channels[1] * layer.taps
    expected = [layer.groups, size, size]
    if list(moment.shape) != expected:
        raise CovarianceError(
            f"the patch moment of layer {layer.name!r} has shape {list(moment.shape)}, expected {expected}: [groups, "
            "Ci / groups * taps, Ci / groups * taps]"
        )
    if not moment.isfinite().all():
        raise CovarianceError(
            f"the patch moment of layer {layer.name!r} has {int((~moment.isfinite()).sum())} entries that are NaN or "
            "infinite: is the calibration data finite, and does the network run it without overflow?"
        )
    return moment.detach().cpu().double()


def _adder(
    found: dict[str, Moments], layers: dict[str, Layer], modules: dict[str, nn.Module], inputs: int, count: int
) -> Callable[[str, Any, Any], None]:
    def add(name: str, given: Any, output: Any) -> None:
        layer = layers[name]
        given, output = batched(layer, given), batched(layer, output)
        most = max(1, ROWS * count // (inputs * len(output)))
        x = wide(input_rows(layer, modules[name], given, picked(extents_of(layer, output), most))).flatten(1, 2)
        found.setdefault(name, Moments()).add(x, x[:, :, :1])

    return add
