"""What a figure draws as a table, for those who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rank_search.report.figures.critical_difference import CriticalDifference
from rank_search.report.figures.incumbents import Incumbents
from rank_search.report.figures.measure_against_cost import MeasureAgainstCost
from rank_search.report.figures.probabilities import Probabilities
from rank_search.report.figures.rank_paths import RankPaths
from rank_search.report.figures.ranks import Ranks
from rank_search.report.measure import ABSENT
from rank_search.report.tables.table import MIDDLE, Column, Table

Row = tuple[str, ...]
TITLE = "The numbers"


def numbers(figure: object) -> Table | None:
    """The numbers of a figure, none twice in a row; None for a kind that this does not know.

    Args:
        figure: a value of the report.
    """
    match figure:
        case MeasureAgainstCost():
            return _table(("line", figure.x_label, figure.y_label), _of_cost(figure), 1)
        case Incumbents():
            header = ("searcher", figure.x_label, figure.y_label, "least", "greatest")
            return _table(header, _of_incumbents(figure), 1)
        case Ranks():
            columns = (figure.y_label, *(column.replace("\n", ", ") for column in figure.columns))
            rows = [(layer, *texts) for layer, texts in zip(figure.layers, figure.texts, strict=True)]
            return _table(columns, rows, len(columns))
        case RankPaths():
            return _table(("layer", "mode", figure.x_label, figure.y_label), _of_paths(figure), 2)
        case Probabilities():
            header = ("layer", "mode", figure.x_label, "most probable rank", "its probability")
            return _table(header, _of_probabilities(figure), 2)
        case CriticalDifference():
            return _table(("searcher", "not told apart from", figure.x_label), _of_ranks(figure), 2)
    return None


def spoken(texts: Iterable[str]) -> Table:
    """A table of what the places of a figure say."""
    return _table(("what is drawn",), [(text,) for text in texts], 1)


def _of_cost(figure: MeasureAgainstCost) -> Iterator[Row]:
    for line in figure.lines:
        for cost, mean, half in zip(line.cost, line.mean, line.half_width, strict=True):
            yield line.label, _number(cost), MIDDLE.join([_number(mean), *([_number(half, 2)] * math.isfinite(half))])
    if figure.dense is not None:
        yield figure.dense_label, _number(100.0), _number(figure.dense)


def _of_incumbents(figure: Incumbents) -> Iterator[Row]:
    for searcher, curve in figure.curves.items():
        values = np.stack([curve.mean, curve.low, curve.high], axis=1)
        for place in _changes(values):
            yield figure.labels[searcher], f"{curve.evaluations[place]:g}", *map(_number, values[place])
    for searcher, answer in figure.answers.items():
        spread = (answer.mean, answer.low, answer.high)
        yield f"{searcher}, answer", f"{answer.evaluations:g}", *map(_number, spread)


def _of_ranks(figure: CriticalDifference) -> Iterator[Row]:
    for searcher, rank in figure.ranks.items():
        yield searcher, ", ".join(figure.alike(searcher)) or ABSENT, _number(rank)


def _of_paths(figure: RankPaths) -> Iterator[Row]:
    for layer, path in figure.layers.items():
        for mode, ranks in path.ranks.items():
            shown = np.where(path.dense, -1.0, ranks)
            for place in _changes(shown[:, None]):
                rank = "dense" if path.dense[place] else _number(ranks[place])
                yield layer, mode, _number(path.epochs[place]), rank


def _of_probabilities(figure: Probabilities) -> Iterator[Row]:
    for name, layer in figure.layers.items():
        for mode, image in layer.modes.items():
            best = layer.most_probable(mode)
            for place in _changes(best[:, None]):
                known = math.isfinite(best[place])
                rank = _number(best[place]) if known else ("dense" if layer.dense[place] else ABSENT)
                share = f"{image[int(best[place]), place]:.3f}" if known else ABSENT
                yield name, mode, str(layer.rounds[place]), rank, share


def _changes(values: NDArray[np.float64]) -> list[int]:
    """Of ``[n, k]`` the first row, every row that differs from the one before it, and the last."""
    known = np.nan_to_num(values, nan=-2.0)
    differs = np.flatnonzero((known[1:] != known[:-1]).any(axis=1)) + 1
    return sorted({0, *differs.tolist(), len(values) - 1})


def _table(header: Sequence[str], rows: Iterable[Row], texts: int) -> Table:
    """The first ``texts`` columns are texts, the others numbers."""
    found = list(rows)
    cells = list(zip(*found, strict=True)) or [()] * len(header)
    columns = tuple(Column(name, cells[n], numeric=n >= texts) for n, name in enumerate(header))
    return Table(TITLE, columns, tuple(row[0] for row in found))


def _number(value: float, digits: int = 4) -> str:
    return ABSENT if math.isnan(value) else f"{value:.{digits}g}"
