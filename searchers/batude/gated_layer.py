"""One layer whose ranks are learned: which form, which of its options, what they cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import InvalidInputError
from rank_search.plugins import nearest
from rank_search.space import Budget, RankSpace
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.mode_spectra import ModeSpectra, spectra_of
from rank_search.space.tables.options import LayerOptions

from .greedy_ranks import DENSE_RANKS, Ranks, RankTable

GATED = "tucker2, svd, svd_channel, svd_spatial"


class GatedLayer:
    """The options of one form of one layer as grids over its ranks.

    Args:
        options: of the layer.
        position: of the form among the layer's.
        metrics: columns of the costs that are bounded.

    Attributes:
        form: the decomposition.
        modes: a name per rank.
        full: the largest rank of each mode; gates are counted up to it.
    """

    def __init__(self, options: LayerOptions, position: int, metrics: list[int]) -> None:
        self.options, self.layer = options, options.layer
        self.form: Decomposition = options.forms[position]
        self.name, self.modes = options.layer.name, self.form.modes
        self.full = self.form.largest_ranks(self.layer)
        kind = spectra_of(self.form)
        assert kind is not None
        self._kind: type[ModeSpectra] = kind
        shape = tuple(rank + 1 for rank in self.full)
        grid = np.indices(shape, dtype=np.int64).reshape(len(shape), -1).T
        costs = options.costs_of(self.form, grid)
        possible: NDArray[np.bool_] = np.asarray((grid >= 1).all(1))
        possible[possible] = self.form.feasible(self.layer, grid[possible])
        cheaper = possible & (costs < options.costs[0]).any(1)
        self._costs: FloatArray = costs[:, metrics].reshape(*shape, -1).astype(np.float64)
        self._possible: NDArray[np.bool_] = possible.reshape(shape)
        self._rows: IntArray = np.full(shape, -1, dtype=np.int64)
        self._rows[tuple(options.ranks_of(position).T)] = np.flatnonzero(options.form == position)
        self._complete = bool((cheaper.reshape(shape) == (self._rows >= 0)).all())
        self._dense: FloatArray = options.costs[0, metrics].astype(np.float64)

    def analyse(self, tensor: Tensor) -> ModeSpectra:
        """The spectra of a canonical weight ``[groups, Co / groups, Ci / groups, taps]``, float64."""
        return self._kind(self.form, self.layer, tensor)  # type: ignore[call-arg]

    def unfold(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Per mode the unfolding that :meth:`analyse` takes the singular values of."""
        return self._kind.unfold(self.form, self.layer, tensor)

    def table(self, lost: FloatArray) -> RankTable:
        """The table of the greedy step, given what every rank loses."""
        return RankTable(lost, self._costs, self._dense, self._possible, self._rows >= 0, self._complete)

    def row(self, ranks: Ranks) -> int:
        """The row of the layer's options with these ranks; 0, dense, for ``()``."""
        return 0 if ranks == DENSE_RANKS else int(self._rows[ranks])

    def ranks(self, row: int) -> Ranks:
        """The ranks of a row of this form, ``()`` for dense."""
        return DENSE_RANKS if row == 0 else tuple(self.options.ranks[row, : len(self.modes)].tolist())

    def values(self, lost: FloatArray) -> FloatArray:
        """What every row of the layer's options loses; inf where it is of another form."""
        found = np.full(len(self.options), np.inf)
        found[0] = 0.0
        found[self._rows[self._rows >= 0]] = lost[self._rows >= 0]
        return found


def gated_layers(space: RankSpace, budget: Budget, form: str | None) -> list[GatedLayer]:
    """The layers of a space whose ranks can be learned; the others stay dense.

    Args:
        space: where plans are chosen.
        budget: names the metrics.
        form: which form to learn where a layer has several; None takes the first that has singular values.

    Raises:
        InvalidInputError: if there is no such layer, or no such form.
    """
    names = list(dict.fromkeys(f.name for options in space.layers for f in options.forms))
    usable = [name for name in names if any(f.name == name and spectra_of(f) for o in space.layers for f in o.forms)]
    if form is not None and form not in usable:
        raise InvalidInputError(
            f"form={form!r} is not allowed{nearest(form, usable)}; of this space's forms the ranks of these can be "
            f"learned: {', '.join(usable) or 'none'}"
        )
    if not usable:
        raise InvalidInputError(
            f"batude learns the ranks of {GATED}, and this space has only {', '.join(names) or 'dense layers'}: add "
            "one of them to its forms"
        )
    metrics, _ = space.bounds(budget)
    found = []
    for options in space.layers:
        positions = {f.name: i for i, f in enumerate(options.forms) if spectra_of(f)}
        if positions:
            position = positions[form] if form in positions else next(iter(positions.values()))
            found.append(GatedLayer(options, position, metrics))
    return found
