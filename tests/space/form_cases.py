"""Every form with the layers it is for, and which ranks it can have, written down one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from drawn_layers import TWO_AXES, DrawnLayer, convolutions, linears
from hypothesis import strategies as st

from rank_search.space.forms.cp import CP
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.svd import SVD
from rank_search.space.forms.svd_channel import SVDChannel
from rank_search.space.forms.svd_grouped import SVDGrouped
from rank_search.space.forms.svd_spatial import SVDSpatial
from rank_search.space.forms.tensor_train import TensorTrain
from rank_search.space.forms.tucker2 import Tucker2
from rank_search.space.layers.layer import Layer

Possible = Callable[[Layer, tuple[int, ...]], bool]


@dataclass(frozen=True)
class FormCase:
    """Args:
    form: the form.
    layers: layers that it is for.
    possible: whether a weight can have such ranks.
    full: ranks at which nothing is lost; None where none are promised.
    offers_all: whether every possible tuple is a candidate.
    """

    form: Decomposition
    layers: st.SearchStrategy[DrawnLayer]
    possible: Possible
    full: Callable[[Layer], tuple[int, ...]] | None
    offers_all: bool = True

    def all_ranks(self, layer: Layer) -> Iterator[tuple[int, ...]]:
        """Every rank tuple that is possible, in the order of counting."""
        top = max(layer.group_channels) * (layer.taps if len(self.form.modes) == 1 else 1)
        for ranks in product(range(1, top + 1), repeat=len(self.form.modes)):
            if self.possible(layer, ranks):
                yield ranks


def _channel_core(layer: Layer, out: int, into: int) -> bool:
    return out <= min(layer.group_channels[0], into * layer.taps) and into <= min(
        layer.group_channels[1], out * layer.taps
    )


def _grouped(layer: Layer, groups: int, rank: int) -> bool:
    out, into = layer.group_channels
    return into % groups == 0 and rank <= out and rank <= into // groups * layer.taps


def _full_channels(layer: Layer) -> tuple[int, int]:
    out, into = layer.group_channels
    return min(out, into * layer.taps), min(into, out * layer.taps)


def _matrix(
    rows: Callable[[Layer], int], columns: Callable[[Layer], int]
) -> tuple[Possible, Callable[[Layer], tuple[int, ...]]]:
    """A form that is an SVD of a matrix with so many rows and columns."""
    return (
        lambda layer, ranks: ranks[0] <= rows(layer) and ranks[0] <= columns(layer),
        lambda layer: (min(rows(layer), columns(layer)),),
    )


LONG = convolutions()
CASES = {
    case.form.name: case
    for case in (
        FormCase(Tucker2(), LONG, lambda layer, ranks: _channel_core(layer, *ranks), _full_channels),
        FormCase(
            TensorTrain(),
            LONG,
            lambda layer, ranks: _channel_core(layer, *ranks[::-1]),
            lambda layer: _full_channels(layer)[::-1],
        ),
        FormCase(
            CP(ranks=4),
            convolutions(channels=4),
            lambda layer, ranks: (
                ranks[0] * max(*layer.group_channels, layer.taps) <= layer.dense_params // layer.groups
            ),
            None,
            offers_all=False,
        ),
        FormCase(
            SVD(),
            st.one_of(convolutions(kernel="pointwise"), linears()),
            *_matrix(lambda layer: layer.group_channels[0], lambda layer: layer.group_channels[1]),
        ),
        FormCase(
            SVDChannel(),
            LONG,
            *_matrix(lambda layer: layer.group_channels[0], lambda layer: layer.group_channels[1] * layer.taps),
        ),
        FormCase(
            SVDSpatial(),
            convolutions(TWO_AXES, "long on both axes"),
            *_matrix(
                lambda layer: layer.group_channels[1] * layer.kernel[0],
                lambda layer: layer.group_channels[0] * layer.kernel[1],
            ),
        ),
        FormCase(
            SVDGrouped(),
            st.one_of(LONG, convolutions(kernel="pointwise")),
            lambda layer, ranks: _grouped(layer, *ranks),
            lambda layer: (layer.group_channels[1], min(layer.group_channels[0], layer.taps)),
        ),
    )
}
