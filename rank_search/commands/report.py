"""``rank-search report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rank_search.commands.console import make_console
from rank_search.commands.printed_report import print_regret_report, print_report, print_together
from rank_search.errors import ConfigError


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="A run folder, or several of the same tasks, as one.")
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT", help="md, latex, csv, png, pdf, html; repeated or by commas."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for what is written; RUN/report unless told.")] = None,
) -> None:
    """Print a run's leaderboard, or the tables of a benchmark of regret, again; write its plots and its report.html.

    With --format, write the report in the formats asked for instead.
    """
    from rank_search.records.lock_holder import check_at_rest
    from rank_search.records.schema import REGRET_FILE

    for run in runs:
        check_at_rest(run)
    of_regret = [run for run in runs if (run / REGRET_FILE).is_file()]
    if of_regret and len(runs) > 1:
        raise ConfigError(f"{of_regret[0]} is a benchmark of regret, which is reported alone: give one folder")
    if formats:
        _write_report(runs, formats, output, bool(of_regret))
    elif of_regret:
        print_regret_report(runs[0], make_console())
    elif len(runs) == 1 and output is None:
        print_report(runs[0], make_console())
    else:
        print_together(runs, output, make_console())


def _write_report(runs: list[Path], formats: list[str], output: Path | None, of_regret: bool) -> None:
    """Writes a report in the formats asked for, and says where."""
    from rank_search.report import report_of
    from rank_search.report.regret import regret_report_of
    from rank_search.report.render.write_report import chosen, write_report

    names = chosen(formats)
    if output is None and len(runs) > 1:
        raise ConfigError(f"a report of {len(runs)} runs belongs to none of them: give a folder with --output")
    folder = output or runs[0] / "report"
    paths = write_report(regret_report_of(runs[0]) if of_regret else report_of(*runs), folder, names)
    make_console().print(f"report:  {folder} ({len(paths)} files)", highlight=False, markup=False, soft_wrap=True)
