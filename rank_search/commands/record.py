"""``rank-search record``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rank_search.commands.console import make_console
from rank_search.commands.options import ConfigArgument, SetOption, TaskOption
from rank_search.errors import ConfigError
from rank_search.interruption import exit_code


def record(
    config: ConfigArgument,
    output: Annotated[Path, typer.Option(help="Folder of the recording; one that was interrupted goes on.")],
    task: TaskOption = None,
    plans: Annotated[int, typer.Option(help="A space of at most so many plans is recorded whole.", min=1)] = 50_000,
    finetuned: Annotated[int, typer.Option(help="Plans that are fine-tuned, too.", min=0)] = 200,
    refitted: Annotated[
        int, typer.Option(help="Best plans within every budget that are refitted, beside those fine-tuned.", min=0)
    ] = 200,
    refit_only: Annotated[
        bool, typer.Option("--refit-only", help="Add refitted plans to a finished recording; nothing else is measured.")
    ] = False,
    answers: Annotated[
        Path | None, typer.Option(help="With --refit-only: a benchmark of regret whose answers are refitted, too.")
    ] = None,
    in_process: Annotated[bool, typer.Option("--in-process", help="Without Ray.")] = False,
    settings: SetOption = None,
) -> None:
    """Record what every plan of a task's space is worth, for searches that cost look-ups."""
    from rank_search.recorded import read_recording
    from rank_search.run.config import load_config
    from rank_search.run.recorder import record as run_record
    from rank_search.run.refit_recording import refit_recording
    from rank_search.run.regret.answers import answers_of
    from rank_search.space import Budget

    if answers is not None and not refit_only:
        raise ConfigError("--answers is of a finished recording: give --refit-only, too")
    loaded = load_config(config, settings)
    console = make_console()

    def tell(what: str, done: int, total: int) -> None:
        if console.is_terminal:
            console.print(f"{what}: {done} of {total} chunks", end="\r", highlight=False)

    name = task or next(iter(loaded.tasks))
    try:
        if refit_only:
            found = [] if answers is None else answers_of(answers, output)
            budgets = [Budget(**bounds) for bounds in loaded.budgets]
            refit_recording(output, loaded.run, budgets, refitted, found, in_process, tell)
        else:
            run_record(loaded, name, output, plans, finetuned, refitted=refitted, in_process=in_process, tell=tell)
    except KeyboardInterrupt as interruption:
        console.print("\ninterrupted; what was measured is kept: go on with the same command", highlight=False)
        raise typer.Exit(exit_code(interruption)) from None
    console.print(repr(read_recording(output)), highlight=False, markup=False, soft_wrap=True)
    console.print(f'load it with rank_search.load_recorded("{output}")', highlight=False, markup=False, soft_wrap=True)
