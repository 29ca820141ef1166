"""What the driver hears from Ray Tune: steps and rows for its observers, and who was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rank_search.run.cells import Cell
from rank_search.run.folder import RunFolder
from rank_search.run.losses import Losses
from rank_search.run.observer import Observer
from rank_search.run.parcel import unpack
from rank_search.run.relay import ByStorage, Relay


def driver_callback(
    base: Any, cells: Mapping[str, Cell], observer: Observer, folder: RunFolder, relay: Relay | None
) -> Any:
    """A callback of Ray Tune.

    Args:
        base: Ray Tune's class.
        cells: by their id.
        observer: hears of steps and rows.
        folder: where files that came over a storage are put.
        relay: of the run.
    """

    class DriverCallback(base):  # type: ignore[misc]
        """Passes what trials report on to the observer; keeps what a worker said when it could not write."""

        fatal: str | None = None
        cells: Mapping[str, Cell]
        observer: Observer
        folder: RunFolder
        relay: Relay | None
        finished: set[str]
        nodes: dict[str, str]
        losses: Losses

        def __getstate__(self) -> dict[str, Any]:
            return {"fatal": self.fatal}  # Tune pickles callbacks; terminals and MLflow clients stay in the driver

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.observer.progress(self.cells[trial.config["cell"]], 0, None)

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
            cell = self.cells[trial.config["cell"]]
            if "node" in result:
                self.nodes[cell.id] = result["node"]
            elif "fatal" in result:
                self.fatal = result["fatal"]
            elif "row" in result:
                if isinstance(self.relay, ByStorage) and self.folder.result(cell) != result["row"]:
                    unpack(self.relay.fetch(cell.folder), self.folder.cell(cell))
                self.finished.add(cell.id)
                self.observer.finish(cell, result["row"])
            elif "evaluations" in result:
                self.observer.progress(cell, result["evaluations"], result["incumbent"])

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            cell = self.cells[trial.config["cell"]]
            self.losses.add(cell.id, self.nodes.get(cell.id))

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            self.losses.say()

    callback = DriverCallback()
    callback.cells, callback.observer, callback.folder, callback.relay = cells, observer, folder, relay
    callback.finished, callback.nodes, callback.losses = set(), {}, Losses()
    return callback
