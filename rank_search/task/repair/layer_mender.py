"""Refitting the factors of one layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rank_search.space.forms.factor_modules import weight_for
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.forms.multiplied import features_of
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.moments import Moments, Statistics, wide
from rank_search.space.layers.rows import batched, extents_of, input_rows, output_rows, picked
from rank_search.task.repair.factor_fit import fit_all, fit_last, weight_of
from rank_search.task.repair.mender import HELD_OUT, OTHERWISE, ROWS, Inputs, Mended, Mender, Mismatch
from rank_search.task.repair.recalibration import BatchNorm, mend
from rank_search.threads import torch_threads

RIDGES = (1e-4, 1e-2, 1.0)
"""Tried for the last factor."""

RIDGE, ITERATIONS = 1e-4, 50
"""Of the fit of all factors."""

WIDE, FEWER_ITERATIONS = 1152, 20
"""Inputs of a weight above which it has fewer: the time of each rises with their square.

Up to them one thread fits: its operations are so short that a second one saves a third of the time on idle cores, and
costs many times as much where others have the cores.
"""

WIDEST = 4608
"""Inputs of a weight whose second moments are gathered; of a wider one only the last factor is fitted."""

ROWS_EACH = 8  # of an input of the weight, at least
ROUNDING = 1e-9  # an error, relative to what is wanted, that counts as none
SURELY_SOME = 1e-6  # an error that is no rounding, whichever way it is computed
NUMBERS = 2**22  # of rows that are held at once


class LayerMender(Mender):
    """The second moments of what one layer is given in the compressed network and of what it puts out in the dense one.

    Args:
        module: the factors, of the compressed network.
        dense: the layer they stand for.
        norm: the batch norms, of the compressed and of the dense network, that take the layer's outputs at once.
    """

    def __init__(
        self, name: str, calls: int, module: LowRank, dense: nn.Module, norm: tuple[BatchNorm, BatchNorm] | None = None
    ) -> None:
        super().__init__(name, calls)
        self._module, self._dense, self._norm = module, dense, norm
        self._layer = Layer.of(name, dense)
        self._wanted: list[tuple[torch.Size, tuple[Tensor, ...], Tensor, Tensor]] = []
        self._fit, self._held = Moments(), Moments()
        self._inputs = self._axis = 0
        factors = [_canonical(part) for part in module]
        self._features = features_of(factors, self._layer.groups)
        self._width = self._layer.group_channels[1] * self._layer.taps
        self._narrow = self._width <= WIDEST
        self._factors = factors if self._narrow else factors[-1:]  # those that are fitted
        self._begun = False

    def begin(self) -> None:
        super().begin()
        self._wanted = []

    def hear(self, given: Tensor, output: Tensor, inputs: Inputs) -> None:
        axes = output.shape[:-1] if self._layer.kind == "linear" else output.shape[:1]
        self._axis = inputs.axis(axes)
        given, output = self._batched(given), self._batched(output)
        self._inputs = inputs.total
        rows = max(ROWS, ROWS_EACH * self._width if self._narrow else 0)
        at = picked(extents_of(self._layer, output), inputs.positions(len(output), rows))
        wanted = wide(output_rows(self._layer, output, at))
        if not self._begun:
            self._begun = True
            self._look(wanted.shape[1] * wanted.shape[2] * self.calls * inputs.total / inputs.count)
        self._wanted.append((given.shape, at, wanted, inputs.held_out(len(output))))

    def _look(self, rows: float) -> None:
        """Whether so many rows, held-out ones among them, are too few to fit all factors: the last one takes fewer."""
        if self._features is not None and rows * (HELD_OUT - 1) / HELD_OUT < self._width:
            self._narrow, self._factors = False, self._factors[-1:]

    def add(self, given: Tensor) -> None:
        given = self._batched(given)
        shape, at, wanted, held = self._wanted[self.added]
        if given.shape != shape:
            raise Mismatch(f"{list(given.shape)} instead of {list(shape)}")
        if not self._narrow and self._features is None:
            return
        wanted = wanted.to(given.device)
        step = max(1, NUMBERS // (self._layer.groups * self._width * len(at[0])))
        for first in range(0, len(given), step):
            part = slice(first, first + step)
            x = wide(input_rows(self._layer, self._dense, given[part], at))
            if not self._narrow:
                assert self._features is not None
                x = x @ self._features.to(x).transpose(1, 2)[:, None]
            for moments, chosen in ((self._fit, ~held[part]), (self._held, held[part])):
                rows = chosen.to(given.device)
                moments.add(x[:, rows].flatten(1, 2), wanted[:, part][:, rows].flatten(1, 2))

    def finish(self) -> Mended:
        with torch_threads(1 if self._width <= WIDE else torch.get_num_threads()):
            return self._finish()

    def _finish(self) -> Mended:
        if not self._narrow and self._features is None:
            return Mended(left=f"its weight has {self._width} inputs: over {WIDEST}")
        if not (self._fit.count or self._held.count):
            return Mended(left=OTHERWISE)
        both = self._fit.joined(self._held).statistics(centred=True)
        if not both.finite:
            return Mended(left="what it is given, or should put out, is NaN or infinite")
        if not self._fit.count or self._held.count < 2:
            mended = Mended(left=self._too_few())
        else:
            centred = self._norm is not None or self._module.bias is not None
            mended = self._refit(self._fit.statistics(centred), self._held.statistics(centred))
        self._mend_means(both, mended.left is None)
        return mended

    def _refit(self, fit: Statistics, held: Statistics) -> Mended:
        """Puts the best factors into the module."""
        total = max(float(held.yy.sum()), torch.finfo(torch.float64).tiny)
        found, last = self._factors, self._factors[-1]
        held_features = None if self._features is None else held.of(self._features) if self._narrow else held
        before = math.inf if held_features is None else held_features.error(last.flatten(2))
        if held_features is None or before <= SURELY_SOME * total:
            before = held.error(self._weight(found))  # with less rounding
        best = before
        if before <= ROUNDING * total:
            return Mended(before / total, before / total, "it puts out what the dense layer does")
        if fit.count < self._needed:
            return Mended(before / total, before / total, self._too_few())
        if self._features is not None and held_features is not None:
            features = fit.of(self._features) if self._narrow else fit
            for ridge in RIDGES:
                tried = fit_last(last, features, ridge)
                error = held_features.error(tried.flatten(2))
                if error < best:
                    best, found = error, [*self._factors[:-1], tried]
        if self._narrow and fit.count >= self._width:
            assert isinstance(self._dense.weight, Tensor)
            dense = self._layer.canonical(self._dense.weight.detach().cpu().double()).flatten(2)
            all_tried = fit_all(found, fit, dense, RIDGE, ITERATIONS if self._width <= WIDE else FEWER_ITERATIONS)
            error = held.error(self._weight(all_tried))
            if error < best:
                best, found = error, all_tried
        if found is self._factors:
            return Mended(before / total, before / total, "no fit is better on held-out inputs")
        self._factors = found
        for module, factor in zip([*self._module][-len(found) :], found, strict=True):
            assert isinstance(module.weight, Tensor)
            module.weight.copy_(weight_for(module, factor))
        return Mended(before / total, best / total)

    def _mend_means(self, both: Statistics, refitted: bool) -> None:
        """The bias takes the mean; then the batch norm what is left."""
        weight = self._weight(self._factors)
        bias = self._module.bias
        mean = (weight @ both.mean_x[:, :, None])[:, :, 0].flatten()
        wanted = both.mean_y.flatten()
        if refitted and bias is not None:
            bias.copy_(wanted - mean)
        if self._norm is None:
            return
        norm, original = self._norm
        if bias is not None:
            mean = mean + bias.detach().cpu().double()
        assert original.running_mean is not None
        centre = original.running_mean.detach().cpu().double()
        variance = ((weight @ both.xx) * weight).sum(2).flatten()
        covariance = (weight * both.yx).sum(2).flatten()
        mend(norm, original, mean - centre, wanted - centre, variance, both.yy.flatten(), covariance)

    @property
    def _needed(self) -> int:
        """Positions without which there is nothing to fit."""
        return self._factors[-1][0, 0].numel() if self._features is not None else self._width

    def _weight(self, factors: Sequence[Tensor]) -> Tensor:
        return weight_of(factors, self._layer.groups)

    def _batched(self, tensor: Tensor) -> Tensor:
        """Inputs first."""
        return batched(self._layer, tensor).movedim(self._axis, 0)

    def _too_few(self) -> str:
        needed, rows = self._needed, self._fit.count
        fitted = math.ceil(needed * (self._inputs - self._inputs // HELD_OUT) / max(rows, 1))
        inputs = next(n for n in range(2 * HELD_OUT, 2 * (fitted + HELD_OUT)) if n - n // HELD_OUT >= fitted)
        return (
            f"{self._inputs} inputs give {rows} positions to fit {needed} numbers a channel to: give at least {inputs}"
        )


def _canonical(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return Layer.of("", module).canonical(weight.detach().cpu().double())
