"""``rank-search search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rank_search.commands.console import make_console, say_interrupted
from rank_search.commands.options import AddressOption, ConfigArgument, SetOption, TaskOption, with_address
from rank_search.commands.printed_report import print_report
from rank_search.interruption import exit_code


def search(
    config: ConfigArgument,
    output: Annotated[Path, typer.Option(help="Folder for the compressed network; must be empty or new.")],
    searcher: Annotated[str, typer.Option(help="Name of a searcher, or module:Class.")] = "knapsack",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as macs=0.3, params=0.4,macs=0.5 or latency_ms=0.35ms; macs=0.5 unless told. May be repeated, "
            "or a range: macs=0.2:0.8:0.1."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search and the fine-tune.")] = 0,
    task: TaskOption = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that evaluate plans at once, on Ray; they change nothing but time.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Plans in flight at once, a part of the search; as many as workers unless told.")
    ] = None,
    ray_address: AddressOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that was interrupted there.")] = False,
    settings: SetOption = None,
) -> None:
    """Run one search, fine-tune, and save the compressed network."""
    from rank_search.records.schema import shown
    from rank_search.report.render.gain_line import gain_line
    from rank_search.report.render.stage_lines import left_lines, worth_line
    from rank_search.run.config import load_config
    from rank_search.run.single import parse_budgets, run_several

    console = make_console()
    loaded = load_config(config, with_address(settings, ray_address))
    budgets = parse_budgets(budget or ["macs=0.5"])
    try:
        row, *others = run_several(loaded, task, searcher, budgets, seed, output, resume, workers, parallel)
    except KeyboardInterrupt as interruption:
        say_interrupted(console, output, "what is done is kept")
        raise typer.Exit(exit_code(interruption)) from None
    if others:
        print_report(output, console)
        said = f'load one of the networks with rank_search.load("{output}/cells/{row["cell"]}", factory)'
        console.print(said, highlight=False, markup=False, soft_wrap=True)
        return
    measure = row["measure"]

    def says(column: str) -> str:
        return shown(row[column], row["unit"])

    console.print(
        f"kept {row['kept_macs']:.4f} of the MACs and {row['kept_params']:.4f} of the parameters: {gain_line(row)}\n"
        f"{worth_line(output, row)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for line in left_lines(output):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if row["reason"]:
        console.print(f"the search stopped early: {row['reason']}", markup=False, highlight=False)
    if row["remarks"]:
        console.print(f"remarks: {row['remarks']}", markup=False, highlight=False, soft_wrap=True)
    if row[f"test_{measure}"] is not None:
        console.print(f"test {measure}: dense {says(f'dense_test_{measure}')}, compressed {says(f'test_{measure}')}")
    said = f'saved in {output}; load it with rank_search.load("{output}", factory)'
    console.print(said, highlight=False, markup=False, soft_wrap=True)
