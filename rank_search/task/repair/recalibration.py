"""Mending batch norm after layers were compressed: towards what the dense network computes, without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from rank_search.errors import EvaluationError, told
from rank_search.nests import Nest, call, mapped, moved
from rank_search.running import device_of, evaluating, observed
from rank_search.space.layers.moments import wide

LEAST_VARIANCE = 1e-8  # of the running variance
BatchNorm = nn.modules.batchnorm._BatchNorm


def recalibrate(model: nn.Module, dense: nn.Module, batches: Iterable[Nest]) -> None:
    """Makes every batch norm of a compressed network map its input to what the dense network has there.

    Per channel, with the input ``c`` of the compressed and ``d`` of the dense network over the given images: the
    running statistics become those of ``c``, and scale and shift such that the output is

        gamma (g (c - mean c) + mean d - m) / s + beta,      g = sqrt(rho) std d / std c

    with the dense network's running mean ``m``, ``s = sqrt(running variance + eps)``, ``gamma``, ``beta``, and ``rho``
    the correlation of ``c`` and ``d``, at least 0. ``g`` stands half way (geometrically) between the slope that gives
    back the variance (``rho`` = 1: what plain recalibration does) and that of least squares (``rho``, not its root).
    A network equal to the dense one is not changed; plain recalibration costs a ResNet-20 2.5 points, because these
    images are not what its own statistics were gathered on. (Ours; measured in docs/results.md.)

    The batch norms are mended in the order they run, so that each sees what those before it have been mended to; with
    several batches, by the statistics of all of them so far.

    Args:
        model: a compressed copy of ``dense``; changed.
        dense: the network it came from; left as it was.
        batches: unlabelled nests of inputs ``[N, ...]``. The dense inputs of all batch norms are held for one batch at
            a time.

    Raises:
        EvaluationError: if either network cannot run a batch.
    """
    pairs = norm_pairs(model, dense)
    model.eval()
    if not pairs:
        return
    fits = {name: NormSums(norm, original) for name, (norm, original) in pairs.items()}
    try:
        with evaluating(dense):
            for inputs in batches:
                seen = _inputs_of(dense, {name: original for name, (_, original) in pairs.items()}, inputs)
                with observed({name: norm for name, (norm, _) in pairs.items()}, before=_mending(fits, seen)):
                    call(model, moved(inputs, device_of(model)))
    except (RuntimeError, ValueError, IndexError, StopIteration) as error:
        raise EvaluationError(f"batch norm cannot be recalibrated: {told(error)}") from error


def has_running_statistics(model: nn.Module) -> bool:
    """Whether there is any batch norm to recalibrate."""
    return any(isinstance(module, BatchNorm) and module.running_mean is not None for module in model.modules())


def norm_pairs(model: nn.Module, dense: nn.Module) -> dict[str, tuple[BatchNorm, BatchNorm]]:
    """The batch norms that keep running statistics, with those of the dense network, by name."""
    originals = dict(dense.named_modules())
    found: dict[str, tuple[BatchNorm, BatchNorm]] = {}
    for name, module in model.named_modules():
        original = originals.get(name)
        if isinstance(module, BatchNorm) and isinstance(original, BatchNorm) and original.running_mean is not None:
            found[name] = (module, original)
    return found


def _inputs_of(dense: nn.Module, norms: dict[str, BatchNorm], inputs: Nest) -> dict[str, list[Tensor]]:
    """What every batch norm of the dense network is given, call by call."""
    seen: dict[str, list[Tensor]] = {name: [] for name in norms}

    def keep(name: str, given: Tensor) -> None:
        seen[name].append(given.clone())  # the network may change it in place

    with observed(norms, before=keep):
        call(dense, moved(mapped(inputs, torch.Tensor.clone), device_of(dense)))
    return seen


def _mending(fits: dict[str, NormSums], wanted: dict[str, list[Tensor]]) -> Callable[[str, Tensor], None]:
    calls = {name: iter(tensors) for name, tensors in wanted.items()}

    def add(name: str, given: Tensor) -> None:
        fits[name].add(given, next(calls[name]))
        fits[name].mend()

    return add


class NormSums:
    """The statistics of one batch norm over all images so far, ``[channels]`` each, float64."""

    def __init__(self, norm: BatchNorm, original: BatchNorm) -> None:
        self._norm, self._original = norm, original
        assert original.running_mean is not None
        self._centre = wide(original.running_mean.clone())
        self._count = 0
        self._sums = torch.zeros(5, original.num_features, dtype=torch.float64)

    def add(self, compressed: Tensor, dense: Tensor) -> None:
        """Adds inputs ``[N, channels, ...]`` of both networks."""
        centre = self._centre.view(1, -1, *[1] * (compressed.ndim - 2))
        axes = [axis for axis in range(compressed.ndim) if axis != 1]
        c, d = wide(compressed) - centre, wide(dense.to(compressed.device)) - centre
        sums = [c.sum(axes), d.sum(axes), (c * c).sum(axes), (d * d).sum(axes), (c * d).sum(axes)]
        self._sums += torch.stack(sums).cpu().double()
        self._count += compressed.numel() // compressed.shape[1]

    def mend(self) -> None:
        """Mends the batch norm by the statistics so far, if there are any."""
        if not self._count:
            return
        mean_c, mean_d, square_c, square_d, product = self._sums / self._count
        mend(
            self._norm,
            self._original,
            mean_c,
            mean_d,
            square_c - mean_c**2,
            square_d - mean_d**2,
            product - mean_c * mean_d,
        )


def mend(
    norm: BatchNorm,
    original: BatchNorm,
    mean_c: Tensor,
    mean_d: Tensor,
    var_c: Tensor,
    var_d: Tensor,
    covariance: Tensor,
) -> None:
    """Sets a batch norm from the statistics of its inputs (see :func:`recalibrate`), ``[channels]`` each, float64.

    Args:
        norm: of the compressed network; changed.
        original: of the dense one.
        mean_c, mean_d: of the compressed and the dense input, without the dense network's running mean.
        var_c, var_d, covariance: of the two.
    """
    mean, variance = _exact(original.running_mean), _exact(original.running_var)
    least = LEAST_VARIANCE * variance + torch.finfo(torch.float64).tiny
    var_c, var_d = torch.maximum(var_c, least), torch.maximum(var_d, least)
    rho = (covariance / (var_c * var_d).sqrt()).clamp(0, 1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (variance + original.eps).sqrt()
    if norm.affine:
        weight, bias = _exact(original.weight), _exact(original.bias)
        gain = rho.sqrt() * var_d.sqrt() / scale * (var_c + norm.eps).sqrt() / var_c.sqrt()
        norm.running_mean.copy_(mean + mean_c)
        norm.running_var.copy_(var_c)
        norm.weight.copy_(weight * gain)
        norm.bias.copy_(bias + weight * mean_d / scale)
    else:  # scale and shift can only be put into the statistics
        slope = (rho.sqrt() * (var_d / var_c).sqrt()).clamp_min(1e-3)
        norm.running_mean.copy_(mean + mean_c - mean_d / slope)
        norm.running_var.copy_((scale / slope) ** 2 - norm.eps)


def _exact(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.detach().cpu().double()
