"""Running cells one after another in this process: the same results as under Ray, without it."""

from __future__ import annotations

from collections.abc import Sequence

from rank_search.run.cells import Cell
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.observer import Observer
from rank_search.run.run_cell import run_cell
from rank_search.searching import Trial
from rank_search.threads import limited_threads


def run_in_process(config: Config, cells: Sequence[Cell], folder: RunFolder, observer: Observer) -> None:
    """Runs the cells in order; each is finished on disk before the next starts, with the threads it was promised."""
    for cell in cells:

        def tell(trial: Trial, cell: Cell = cell) -> None:
            observer.progress(cell, int(trial.meter["evaluations"]), trial.incumbent)

        observer.progress(cell, 0, None)
        with limited_threads(config.run.threads):
            row = run_cell(config, cell, folder, tell)
        observer.finish(cell, row)
