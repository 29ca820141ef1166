"""One layer's weight as a function of the probabilities of its options: their superposition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rank_search.errors import InvalidInputError
from rank_search.space.forms.mode_spectra import ModeSpectra, spectra_of
from rank_search.space.forms.multiplied import multiplied
from rank_search.space.tables.options import LayerOptions

from .nested_mixture import LayerMixture

HELD_MB = 256
"""What the options of forms without singular values may take in one layer: each is held as a whole weight."""


class MixedWeight:
    """Canonical, float32; options with singular values share one core, the others are held as whole weights.

    Args:
        options: of the layer.
        mixture: says which of them are mixed.
        device: where the weight is.

    Raises:
        InvalidInputError: if the others take too much memory, or the space's metric is not Frobenius'.
    """

    def __init__(self, options: LayerOptions, mixture: LayerMixture, device: torch.device) -> None:
        if options.weight.whitening is not None:
            raise InvalidInputError("relaxation_outputs measures outputs itself: use a space with errors: weight")
        self.name, self._options, self._device = options.layer.name, options, device
        self._dense = self._on(options.weight.plain)
        self._parts: list[tuple[Tensor, Callable[[Tensor], Tensor]]] = []
        rows = mixture.rows
        at_dense = np.flatnonzero(rows == 0)
        self._parts.append((self._places(at_dense), lambda p: p.sum() * self._dense))
        loose: list[int] = []
        for position, form in enumerate(options.forms):
            inside = np.flatnonzero((rows > 0) & (options.form[rows] == position))
            kind = spectra_of(form)
            if kind is None:
                loose += inside.tolist()
            elif len(inside):
                spectra = kind(form, options.layer, options.weight.plain)  # type: ignore[call-arg]
                ranks = self._places(options.ranks[rows[inside], : len(form.modes)])
                self._parts.append((self._places(inside), _held_by(spectra, ranks, self._on)))
        megabytes = len(loose) * self._dense.numel() * 4 / 2**20
        if megabytes > HELD_MB:
            raise InvalidInputError(
                f"relaxation_outputs holds every option of forms such as cp as a whole weight: layer {self.name!r} "
                f"has {len(loose)}, which take {megabytes:.0f} MB, at most {HELD_MB} are allowed; set max_options, or "
                "leave such forms out"
            )
        if loose:
            weights = torch.stack([self.single(int(row)) for row in rows[loose]])
            self._parts.append((self._places(np.array(loose)), lambda p: torch.einsum("n,ngoit->goit", p, weights)))

    def mixed(self, p: Tensor) -> Tensor:
        """``sum_r p_r What_r``, ``[groups, Co / groups, Ci / groups, taps]``."""
        total: Tensor = sum((part(p[places]) for places, part in self._parts), torch.zeros_like(self._dense))
        return total

    def single(self, row: int) -> Tensor:
        """The weight of one option."""
        if row == 0:
            return self._dense
        return self._on(multiplied(self._options.factors(row), self._options.layer.groups))

    def _on(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self._device, dtype=torch.float32)

    def _places(self, places: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Tensor:
        return torch.from_numpy(places).to(self._device)


def _held_by(spectra: ModeSpectra, ranks: Tensor, on: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """From p of nested options to their mixture: every component weighs the probability of the options that hold it."""
    shape = tuple(values.shape[1] + 1 for values in spectra.values)
    moved = spectra.moved(on)

    def mixed(p: Tensor) -> Tensor:
        held = torch.zeros(shape, device=p.device).index_put(tuple(ranks.T), p, accumulate=True)
        for axis in range(len(shape)):
            held = held.flip(axis).cumsum(axis).flip(axis).narrow(axis, 1, shape[axis] - 1)
        return moved.weighed(held)

    return mixed
