"""``rank-search latency``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rank_search.commands.console import make_console
from rank_search.commands.options import ConfigArgument, SetOption, TaskOption


def latency(
    config: ConfigArgument,
    task: TaskOption = None,
    check: Annotated[int, typer.Option(help="Compare so many random plans with whole networks.", min=0)] = 0,
    output: Annotated[Path | None, typer.Option(help="A JSON file for the table of times.")] = None,
    settings: SetOption = None,
) -> None:
    """Time a task's layers and networks in the engine of its target, and show where the time goes."""
    from rank_search.deploy.latency import check as check_latencies
    from rank_search.report.render.latency_lines import print_check, print_latencies
    from rank_search.run.config import load_config
    from rank_search.run.latencies import time_task

    console = make_console()
    name, space, metric, model = time_task(load_config(config, settings), task, output)
    print_latencies(space, metric, name, console)
    if check:
        print_check(check_latencies(space, model, check), console)
