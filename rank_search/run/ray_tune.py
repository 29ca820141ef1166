"""Running cells as Ray Tune trials: one trial is one cell, actors are reused, results go to the shared run folder.

A cell keeps its own checkpoint in the run folder, so a trial that Ray starts again (a lost worker or node), or that a
later ``--resume`` starts, goes on where the last one stopped. On a cluster the run folder must be on storage that all
nodes see.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from typing import Any

from rank_search.errors import OperationError, RunError, StorageError
from rank_search.run.cells import Cell, expand
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.observer import Observer
from rank_search.run.ray_start import line_of, start_ray
from rank_search.run.run_cell import fail, names_of, run_cell

REPORT_SECONDS = 1.0  # a step may take milliseconds; a report to the driver takes some, too


def run_on_ray(config: Config, cells: Sequence[Cell], folder: RunFolder, observer: Observer) -> None:
    """Runs the cells on this machine or the configured cluster.

    A cell whose worker was lost more often than ``run.retries`` has failed; the others go on.

    Raises:
        StorageError: if a worker could not write its results.
        RunError: if Ray cannot be started, or fails as a whole.
        KeyboardInterrupt: if the user interrupted; finished cells are on disk.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C reaches us, and ends in ray.shutdown()
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints a banner whatever the verbosity
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(config.run.workers))
    import ray
    from ray import tune

    started_here = not ray.is_initialized()
    if started_here:
        start_ray(ray, config.run)
    by_id = {cell.id: cell for cell in cells}
    callback = _driver_callback(tune.Callback, by_id, observer)
    storage = folder.path / "ray"
    paths = [path or os.getcwd() for path in sys.path if path in ("", os.getcwd()) or os.path.isdir(path)]

    start = uuid.uuid4().hex

    def trial(settings: dict[str, Any]) -> None:
        _run_trial(settings["cell"], config, str(folder.path), paths, start)

    try:
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": config.run.threads, "gpu": 1 if config.run.device == "cuda" else 0}),
            param_space={"cell": tune.grid_search(list(by_id))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=config.run.workers),
            run_config=tune.RunConfig(
                name="cells",
                storage_path=str(storage),
                callbacks=[callback],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=config.run.retries),
            ),
        ).fit()
    except ray.exceptions.RayError as error:
        raise RunError(f"Ray failed: {line_of(error)}; finished cells are kept: use --resume") from error
    except tune.TuneError as error:
        raise RunError(f"Ray Tune failed: {line_of(error)}; finished cells are kept: use --resume") from error
    finally:
        if started_here:
            ray.shutdown()
        shutil.rmtree(storage, ignore_errors=True)
    if callback.fatal is not None:
        raise StorageError(callback.fatal)
    errors = {result.config["cell"]: result.error for result in results if result.error is not None and result.config}
    for cell in cells:
        if cell.id not in callback.finished:
            observer.finish(cell, _of_lost(config, cell, folder, start, errors.get(cell.id)))


def _of_lost(config: Config, cell: Cell, folder: RunFolder, start: str, error: Any) -> dict[str, Any]:
    """The row of a cell whose worker did not come back: the one it left, or that of a failure."""
    left = folder.result(cell)
    if left is not None and left.get("start") == start:
        return left
    times = config.run.retries + 1
    why = "" if error is None else f", the last time: {line_of(error)}"
    reason = f"its worker was lost {times} time{'s' * (times > 1)} (killed, out of memory or crashed){why}"
    return fail(folder, cell, names_of(config, cell), reason, str(error))


def _run_trial(cell_id: str, config: Config, path: str, import_paths: list[str], start: str) -> None:
    """In a worker: runs one cell and reports its steps and its row.

    A step that cannot be interrupted when its seconds are over ends the worker; the row is written before, and is what
    the next worker that is given the cell reports.
    """
    from ray import tune

    sys.path.extend(entry for entry in import_paths if entry not in sys.path)
    from rank_search.run.threads import limited_threads

    cell = next(cell for cell in expand(config) if cell.id == cell_id)
    folder = RunFolder(path)
    left = folder.result(cell)
    if left is not None and left.get("start") == start:
        tune.report({"row": left})
        return
    last = time.monotonic()

    def tell(trial: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            tune.report({"evaluations": int(trial.meter["evaluations"]), "incumbent": trial.incumbent})

    def hopeless(limit: str) -> None:
        reason = f"{limit} passed, and its step could not be interrupted: its worker was replaced"
        fail(folder, cell, {**names_of(config, cell), "start": start}, reason, _stacks())
        os._exit(1)

    try:
        with limited_threads(config.run.threads):
            row = run_cell(config, cell, folder, tell, hopeless)
    except OperationError as error:
        tune.report({"fatal": str(error)})
    else:
        tune.report({"row": row})


def _stacks() -> str:
    """Where every thread of this process is."""
    frames = sys._current_frames().items()
    return "\n".join(f"thread {thread}\n{''.join(traceback.format_stack(frame))}" for thread, frame in frames)


def _driver_callback(base: Any, cells: dict[str, Cell], observer: Observer) -> Any:
    class DriverCallback(base):  # type: ignore[misc]
        """Passes what trials report on to the observer; keeps what a worker said when it could not write."""

        cells: dict[str, Cell]
        observer: Observer
        finished: set[str]
        fatal: str | None = None

        def __getstate__(self) -> dict[str, Any]:
            return {"fatal": self.fatal}  # Tune pickles callbacks; terminals and MLflow clients stay in the driver

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.observer.progress(self.cells[trial.config["cell"]], 0, None)

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
            cell = self.cells[trial.config["cell"]]
            if "fatal" in result:
                self.fatal = result["fatal"]
            elif "row" in result:
                self.finished.add(cell.id)
                self.observer.finish(cell, result["row"])
            elif "evaluations" in result:
                self.observer.progress(cell, result["evaluations"], result["incumbent"])

    callback = DriverCallback()
    callback.cells, callback.observer, callback.finished = cells, observer, set()
    return callback
