"""Running cells as Ray Tune trials: one trial is one cell, actors are reused, results go to the driver's run folder.

A cell keeps its own checkpoints, so a trial that Ray starts again (a lost worker or node), or that a later ``--resume``
starts, goes on where the last one stopped. Workers that do not see the run folder send theirs (``worker_folder.py``).
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

from rank_search.errors import OperationError, RankSearchError, RunError, StorageError, told
from rank_search.run.cells import Cell, expand
from rank_search.run.config import Config
from rank_search.run.driver_callback import driver_callback
from rank_search.run.folder import RunFolder
from rank_search.run.observer import Observer
from rank_search.run.ray_start import connected, line_of
from rank_search.run.relay import ByStorage
from rank_search.run.remote_run import RemoteRun, remote_run
from rank_search.run.resources import at_once, check_room, cpus_of_this_machine, of_process
from rank_search.run.run_cell import fail, names_of, run_cell
from rank_search.run.search_workers import workers_on
from rank_search.run.shared_task import shared
from rank_search.run.worker_folder import cell_folder, settle

REPORT_SECONDS = 1.0  # a step may take milliseconds; a report to the driver takes some, too
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches us, and ends in ray.shutdown()
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a banner whatever the verbosity
}


def run_on_ray(config: Config, cells: Sequence[Cell], folder: RunFolder, observer: Observer) -> None:
    """Runs the cells on this machine or the configured cluster.

    A cell whose worker was lost more often than ``run.retries`` has failed; the others go on.

    Raises:
        StorageError: if a worker could not write its results.
        RunError: if Ray cannot be started, the cluster lacks what a cell needs, or Ray fails as a whole.
        KeyboardInterrupt: if the user interrupted; finished cells are on disk.
    """
    os.environ.update(ENVIRONMENT)
    if isinstance(config.run.workers, int):
        os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(config.run.workers))
    start = uuid.uuid4().hex
    with connected(config.run, cpus_of_this_machine(config.run, config.searchers)) as ray:
        try:
            check_room(config, ray.nodes())
            run = remote_run(ray, config, folder, start)
            errors = _run_trials(ray, run, cells, folder, observer)
        except ray.exceptions.RayError as error:
            raise RunError(f"Ray failed: {line_of(error)}; finished cells are kept: use --resume") from error
    for cell in cells:
        if cell.id in errors:
            observer.finish(cell, _of_lost(config, cell, folder, start, errors[cell.id]))
    if isinstance(run.relay, ByStorage):
        run.relay.end()


def _run_trials(
    ray: Any, run: RemoteRun, cells: Sequence[Cell], folder: RunFolder, observer: Observer
) -> dict[str, Any]:
    """Runs a trial per cell; by cell the last error of those that told no row."""
    from ray import tune

    config = run.config
    by_id = {cell.id: cell for cell in cells}
    callback = driver_callback(tune.Callback, by_id, observer, folder, run.relay)
    storage = folder.path / "ray"

    def trial(settings: dict[str, Any], run: RemoteRun) -> None:
        _run_trial(settings["cell"], run)

    def needed(settings: dict[str, Any]) -> Any:
        workers = by_id[settings["cell"]].searcher.workers
        one = of_process(config.run)
        return tune.PlacementGroupFactory([one] if workers == 1 else [{}, *[one] * workers])

    limit = {"max_concurrent_trials": at_once(config.run)} if isinstance(config.run.workers, int) else {}
    try:
        results = tune.Tuner(
            tune.with_resources(tune.with_parameters(trial, run=run), needed),
            param_space={"cell": tune.grid_search(list(by_id))},
            tune_config=tune.TuneConfig(reuse_actors=True, **limit),
            run_config=tune.RunConfig(
                name="cells",
                storage_path=str(storage),
                callbacks=[callback],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=config.run.retries),
            ),
        ).fit()
    except tune.TuneError as error:
        raise RunError(f"Ray Tune failed: {line_of(error)}; finished cells are kept: use --resume") from error
    finally:
        callback.losses.say(at_last=True)
        shutil.rmtree(storage, ignore_errors=True)
    if callback.fatal is not None:
        raise StorageError(callback.fatal)
    told = {result.config["cell"]: result.error for result in results if result.config}
    return {cell: told.get(cell) for cell in by_id if cell not in callback.finished}


def _of_lost(config: Config, cell: Cell, folder: RunFolder, start: str, error: Any) -> dict[str, Any]:
    """The row of a cell whose worker did not come back: the one it left, or that of a failure."""
    left = folder.result(cell)
    if left is not None and left.get("start") == start:
        return left
    times = config.run.retries + 1
    why = "" if error is None else f", the last time: {line_of(error)}"
    reason = f"its worker was lost {times} time{'s' * (times > 1)} (killed, out of memory or crashed){why}"
    return fail(folder, cell, names_of(config, cell), reason, str(error))


def _run_trial(cell_id: str, run: RemoteRun) -> None:
    """In a worker: runs one cell and reports its steps and its row.

    A step that cannot be interrupted when its seconds are over ends the worker; the row is written before, and is what
    the next worker that is given the cell reports.
    """
    import ray
    from ray import tune

    from rank_search.threads import limited_threads

    config = run.config
    tune.report({"node": ray.get_runtime_context().get_node_id()})
    try:
        folder = settle(run)
        cell = next(cell for cell in expand(config) if cell.id == cell_id)
        _load(config, cell, folder)
        with cell_folder(run, folder, cell) as sending:
            left = folder.result(cell)
            if left is not None and left.get("start") == run.start:
                tune.report({"row": left})
                return
            last = time.monotonic()

            def tell(trial: Any) -> None:
                nonlocal last
                sending.checkpoint()
                if time.monotonic() - last >= REPORT_SECONDS:
                    last = time.monotonic()
                    tune.report({"evaluations": int(trial.meter["evaluations"]), "incumbent": trial.incumbent})

            def hopeless(limit: str) -> None:
                reason = f"{limit} passed, and its step could not be interrupted: its worker was replaced"
                fail(folder, cell, {**names_of(config, cell), "start": run.start}, reason, _stacks())
                sending.everything()
                os._exit(1)

            with limited_threads(config.run.threads), workers_on(run, cell) as workers:
                row = run_cell(config, cell, folder, tell, hopeless, workers, sending.checkpoint)
            sending.everything()
    except OperationError as error:
        tune.report({"fatal": str(error)})
    except ray.exceptions.RayError:  # what it works with is gone, or it is: another worker goes on
        raise
    except Exception as error:
        tune.report({"fatal": f"a worker failed: {told(error)}"})
    else:
        tune.report({"row": row})


def _load(config: Config, cell: Cell, folder: RunFolder) -> None:
    """Loads the cell's task; the driver could, so what is missing is missing here.

    Raises:
        RunError: names this node.
    """
    try:
        shared(config, cell, folder)
    except RankSearchError as error:
        import ray

        where = ray.util.get_node_ip_address()
        raise RunError(f"the worker on {where} cannot load the task {cell.task!r}: {error}") from None


def _stacks() -> str:
    """Where every thread of this process is."""
    frames = sys._current_frames().items()
    return "\n".join(f"thread {thread}\n{''.join(traceback.format_stack(frame))}" for thread, frame in frames)
