"""What may watch a bench from the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from rank_search.run.cells import Cell


class Observer:
    """Hears what happens to the cells; does nothing by itself."""

    def begin(self, cells: Sequence[Cell], finished: Sequence[Cell]) -> None:
        """All cells of the run, and those that an earlier start has finished."""

    def progress(self, cell: Cell, evaluations: int, incumbent: float | None) -> None:
        """A cell went on: evaluations so far and the best score (lower is better)."""

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        """A cell ended with its row of ``results.csv``."""

    def end(self, complete: bool) -> None:
        """The run is over; not complete when it was interrupted."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def begin(self, cells: Sequence[Cell], finished: Sequence[Cell]) -> None:
        for observer in self._observers:
            observer.begin(cells, finished)

    def progress(self, cell: Cell, evaluations: int, incumbent: float | None) -> None:
        for observer in self._observers:
            observer.progress(cell, evaluations, incumbent)

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        for observer in self._observers:
            observer.finish(cell, row)

    def end(self, complete: bool) -> None:
        with ExitStack() as stack:  # each hears of the end, whatever another raises
            for observer in reversed(self._observers):
                stack.callback(observer.end, complete)
