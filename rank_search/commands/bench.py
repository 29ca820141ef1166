"""``rank-search bench``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from rank_search.commands.console import make_console, say_interrupted
from rank_search.commands.options import AddressOption, ConfigArgument, SetOption, with_address
from rank_search.commands.printed_report import print_regret_report, print_report
from rank_search.interruption import exit_code


def bench(
    config: ConfigArgument,
    output: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME unless told.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    in_process: Annotated[bool, typer.Option("--in-process", help="One cell after another, without Ray.")] = False,
    ray_address: AddressOption = None,
    settings: SetOption = None,
) -> None:
    """Run all cells of a config (tasks x budgets x searchers x seeds), then print the leaderboard.

    A config of regret (rankbench) runs its searches on recorded tasks, and prints the regrets.
    """
    from rank_search.run.regret.config import is_regret

    if is_regret(config):
        _bench_regret(config, output, resume, in_process, with_address(settings, ray_address))
        return
    from rank_search.run.bench import bench as run_bench
    from rank_search.run.config import load_config
    from rank_search.run.folder import RunFolder
    from rank_search.run.progress import LiveProgress
    from rank_search.run.tracking_database import database_path, database_uri
    from rank_search.run.tracking_plots import log_report

    console = make_console()
    loaded = load_config(config, with_address(settings, ray_address))
    where = output or Path("runs") / loaded.name
    try:
        folder = run_bench(loaded, where, resume, in_process, LiveProgress(console))
    except KeyboardInterrupt as interruption:
        say_interrupted(console, where, "finished cells are kept")
        raise typer.Exit(exit_code(interruption)) from None
    statuses = print_report(folder, console)
    log_report(loaded, RunFolder(folder))
    uri = loaded.run.tracking or database_uri(folder)
    database = database_path(uri)
    if database is not None and database.is_file():
        ui = shlex.join([str(Path(sys.executable).parent / "mlflow"), "ui", "--backend-store-uri", uri])
        console.print(f"MLflow:  {ui}", highlight=False, markup=False, soft_wrap=True)
    if "done" not in statuses:
        sys.stderr.write(f"error: all {len(statuses)} cells failed; their reasons are above\n")
        raise typer.Exit(1)


def _bench_regret(config: str, output: Path | None, resume: bool, in_process: bool, settings: list[str] | None) -> None:
    """Runs a config of regret and prints what it says."""
    from rank_search.run.regret import load_regret_config, run_regret

    loaded = load_regret_config(config, settings)
    console = make_console()

    def tell(done: int, total: int) -> None:
        if console.is_terminal:
            console.print(f"{done} of {total} jobs", end="\r", highlight=False)

    where = output or Path("runs") / loaded.name
    try:
        folder = run_regret(loaded, where, resume, in_process, tell)
    except KeyboardInterrupt as interruption:
        say_interrupted(console, where, "what is done is kept")
        raise typer.Exit(exit_code(interruption)) from None
    print_regret_report(folder, console)
