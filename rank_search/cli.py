"""The command line. Every error is one readable line and exit code 2; heavy imports wait until a command runs."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from rank_search.commands.compress import compress_command
from rank_search.commands.page_line import page_line
from rank_search.commands.shape import shape_of
from rank_search.errors import ConfigError, RankSearchError
from rank_search.interruption import exit_code, terminable
from rank_search.memory import reuse_freed_memory
from rank_search.plugins import nearest

if TYPE_CHECKING:
    from rich.console import Console


CLOSED_PIPE = 141
"""What a shell says of a program that a closed pipe ended: 128 + SIGPIPE."""
REPORTED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR),
)
"""Errors of the operating system that a line says as well as a traceback."""

_UsageError: type[Any] = typer.BadParameter.__mro__[1]  # click's, or that of the click inside newer typers


class _Commands(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise ConfigError(
                f"there is no command {args[0]!r}{nearest(args[0], self.commands)}; "
                f"the commands are: {', '.join(self.commands)}"
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="rank-search",
    cls=_Commands,
    help="Choose the rank of every layer of a neural network under a hard budget, with any method, and compare fairly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="Name of an installed config, or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the config; may be repeated.")
]
AddressOption = Annotated[
    str | None, typer.Option("--ray-address", metavar="ADDRESS", help="A Ray cluster: HOST:PORT of its head, or auto.")
]
TaskOption = Annotated[str | None, typer.Option("--task", help="Which task of the config; the first unless told.")]


@app.command("list")
def list_plugins() -> None:
    """List searchers with what they need and come from, forms, metrics, engines, objectives, configs, recordings."""
    from rank_search.deploy.engines import engines
    from rank_search.errors import PluginError
    from rank_search.plugins import Registry
    from rank_search.recorded.recording import recordings
    from rank_search.report.render.searcher_lines import searcher_lines
    from rank_search.run.config_file import installed_configs
    from rank_search.searching import searchers
    from rank_search.space.forms.decomposition import decompositions
    from rank_search.space.metrics.metric import metrics
    from rank_search.task.objectives.choose import objectives

    console = _console()
    console.print("[bold]searchers[/bold]")
    for line in searcher_lines(searchers.listing()):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    kinds: dict[str, Registry[Any]] = {
        "forms": decompositions,
        "metrics": metrics,
        "engines": engines,
        "objectives": objectives,
    }
    for title, registry in kinds.items():
        console.print(f"[bold]{title}[/bold]")
        width = max(map(len, registry.names()))
        for name, found in registry.listing().items():
            if isinstance(found, PluginError):
                console.print(f"  {name:{width}} broken: {found}", highlight=False, markup=False, soft_wrap=True)
            else:
                summary = (found.__doc__ or "").strip().splitlines()[0] if found.__doc__ else ""
                console.print(f"  {name:{width}} {summary}", highlight=False, markup=False, soft_wrap=True)
    for title, names in (("configs", installed_configs()), ("recorded tasks", recordings())):
        console.print(f"[bold]{title}[/bold]")
        for name in names:
            console.print(f"  {name}", highlight=False)


@app.command()
def inspect(
    config: ConfigArgument = "",
    settings: SetOption = None,
    model: Annotated[str | None, typer.Option(help="Instead of a config: a model, e.g. torchvision:resnet18.")] = None,
    input_shape: Annotated[str, typer.Option("--input", help="With --model: channels,height,width.")] = "3,224,224",
    forms: Annotated[
        str | None, typer.Option(help="With --model: forms, separated by commas; tucker2,svd if not given.")
    ] = None,
) -> None:
    """Show the rank space of a config's tasks, or of a model: layers, shapes, forms, options, costs, reasons."""
    from rank_search.report.render.space_table import print_space

    console = _console()
    if model is not None:
        import torch

        from rank_search.space import RankSpace
        from rank_search.task import load_model

        shape = shape_of(input_shape)
        space = RankSpace.from_model(load_model(model), torch.zeros(1, *shape), forms.split(",") if forms else None)
        print_space(space, model, console)
        return
    if not config:
        raise ConfigError("give a config, or --model NAME, e.g. rank-search inspect --model torchvision:resnet18")
    from rank_search.run.config import load_config
    from rank_search.run.prepare import untrained_space

    loaded = load_config(config, settings)
    for name, section in loaded.tasks.items():
        print_space(untrained_space(section), name, console)


@app.command()
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
    from rank_search.report.render.stage_lines import left_lines, stages_line
    from rank_search.run.config import load_config
    from rank_search.run.single import parse_budgets, run_several

    console = _console()
    loaded = load_config(config, _with_address(settings, ray_address))
    budgets = parse_budgets(budget or ["macs=0.5"])
    try:
        row, *others = run_several(loaded, task, searcher, budgets, seed, output, resume, workers, parallel)
    except KeyboardInterrupt as interruption:
        _say_interrupted(console, output, "what is done is kept")
        raise typer.Exit(exit_code(interruption)) from None
    if others:
        _report(output, console)
        said = f'load one of the networks with rank_search.load("{output}/cells/{row["cell"]}", factory)'
        console.print(said, highlight=False, markup=False, soft_wrap=True)
        return
    measure = row["measure"]

    def says(column: str) -> str:
        return shown(row[column], row["unit"])

    console.print(
        f"kept {row['kept_macs']:.4f} of the MACs and {row['kept_params']:.4f} of the parameters: {gain_line(row)}\n"
        f"validation {measure}: dense {says(f'dense_val_{measure}')}, {stages_line(output, row)}",
        highlight=False,
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


app.command("compress")(
    compress_command(
        lambda: _console(), lambda console, output: _say_interrupted(console, output, "what is done is kept")
    )
)


@app.command()
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

    console = _console()
    name, space, metric, model = time_task(load_config(config, settings), task, output)
    print_latencies(space, metric, name, console)
    if check:
        print_check(check_latencies(space, model, check), console)


@app.command()
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
        _bench_regret(config, output, resume, in_process, _with_address(settings, ray_address))
        return
    from rank_search.run.bench import bench as run_bench
    from rank_search.run.config import load_config
    from rank_search.run.folder import RunFolder
    from rank_search.run.progress import LiveProgress
    from rank_search.run.tracking_database import database_path, database_uri
    from rank_search.run.tracking_plots import log_report

    console = _console()
    loaded = load_config(config, _with_address(settings, ray_address))
    where = output or Path("runs") / loaded.name
    try:
        folder = run_bench(loaded, where, resume, in_process, LiveProgress(console))
    except KeyboardInterrupt as interruption:
        _say_interrupted(console, where, "finished cells are kept")
        raise typer.Exit(exit_code(interruption)) from None
    statuses = _report(folder, console)
    log_report(loaded, RunFolder(folder))
    uri = loaded.run.tracking or database_uri(folder)
    database = database_path(uri)
    if database is not None and database.is_file():
        ui = shlex.join([str(Path(sys.executable).parent / "mlflow"), "ui", "--backend-store-uri", uri])
        console.print(f"MLflow:  {ui}", highlight=False, markup=False, soft_wrap=True)
    if "done" not in statuses:
        sys.stderr.write(f"error: all {len(statuses)} cells failed; their reasons are above\n")
        raise typer.Exit(1)


def _with_address(settings: list[str] | None, address: str | None) -> list[str]:
    """The settings, and the address of a cluster as one of them."""
    return [*(settings or []), *([] if address is None else [f"run.ray_address={address}"])]


def _say_interrupted(console: Console, where: Path, kept: str) -> None:
    said = f"{kept}: go on with the same command and --resume ({where})" if where.exists() else "nothing was started"
    console.print(f"\ninterrupted; {said}", highlight=False, markup=False, soft_wrap=True)


def _bench_regret(config: str, output: Path | None, resume: bool, in_process: bool, settings: list[str] | None) -> None:
    """Runs a config of regret and prints what it says."""
    from rank_search.run.regret import load_regret_config, run_regret

    loaded = load_regret_config(config, settings)
    console = _console()

    def tell(done: int, total: int) -> None:
        if console.is_terminal:
            console.print(f"{done} of {total} jobs", end="\r", highlight=False)

    where = output or Path("runs") / loaded.name
    try:
        folder = run_regret(loaded, where, resume, in_process, tell)
    except KeyboardInterrupt as interruption:
        _say_interrupted(console, where, "what is done is kept")
        raise typer.Exit(exit_code(interruption)) from None
    _report_regret(folder, console)


def _report_regret(folder: Path, console: Console) -> None:
    """Prints the tables and words of a benchmark of regret, and writes its page."""
    from rank_search.report.regret import regret_report_of
    from rank_search.report.render.terminal_table import print_table

    found = regret_report_of(folder)
    page = page_line(found, folder)
    for table in found.all_tables:
        print_table(table, console)
    for line in (*found.summary, *found.legend, *found.failures):
        console.print(line, highlight=False, markup=False)
    for line in (f"results: {folder}", page):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What search --output wrote, or RUN/cells/CELL of a bench.")
    ],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="onnx, pt2, torchscript or safetensors.")] = "onnx",
    output: Annotated[Path | None, typer.Option(help="A new folder; FOLDER/FORMAT unless told.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="An int8 model, too (ONNX Runtime).")] = False,
    engine: Annotated[
        str | None, typer.Option(help="What runs and times it; the target's or the format's own unless told.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Inputs of the call that is timed; the target's, or 1, unless told.", min=1)
    ] = None,
    fixed_batch: Annotated[bool, typer.Option("--fixed-batch", help="The file takes that batch alone.")] = False,
) -> None:
    """Export a search's network to files that run without rank-search: checked, timed, with a model card."""
    from rank_search.files import read_json
    from rank_search.records.schema import RESULT_FILE
    from rank_search.report.render.export_table import print_export
    from rank_search.run.export_result import export_result

    exported = export_result(folder, to, output, int8, engine, batch, fixed_batch)
    print_export(exported, read_json(folder / RESULT_FILE)["unit"], _console())


@app.command()
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
    from rank_search.errors import ConfigError
    from rank_search.recorded import read_recording
    from rank_search.run.config import load_config
    from rank_search.run.recorder import record as run_record
    from rank_search.run.refit_recording import refit_recording
    from rank_search.run.regret.answers import answers_of
    from rank_search.space import Budget

    if answers is not None and not refit_only:
        raise ConfigError("--answers is of a finished recording: give --refit-only, too")
    loaded = load_config(config, settings)
    console = _console()

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


@app.command()
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
        _report_regret(runs[0], _console())
    elif len(runs) == 1 and output is None:
        _report(runs[0], _console())
    else:
        _report_together(runs, output, _console())


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
    _console().print(f"report:  {folder} ({len(paths)} files)", highlight=False, markup=False, soft_wrap=True)


def _report_together(runs: list[Path], output: Path | None, console: Console) -> None:
    """Prints the leaderboard of several runs; plots and page have a place only if one is given."""
    from rank_search.report import leaderboard, render, report_of
    from rank_search.report.render.png.write_plots import draw_all
    from rank_search.report.runs import read_runs

    board = leaderboard(read_runs(runs))
    lines = ["plots:   none written: give a folder with --output"]
    if output is not None:
        found = report_of(*runs)
        plots = draw_all(found, output)
        lines = [f"plots:   {output} ({len(plots)} PNG files)", page_line(found, output)]
    render(board, console)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _report(folder: Path, console: Console) -> list[str]:
    """Prints the leaderboard, writes plots and page, and returns the status of every cell."""
    from rank_search.records.schema import PLOTS
    from rank_search.report import leaderboard, read_results, render, report_of
    from rank_search.report.render.png.write_plots import draw_all

    results = read_results(folder)
    board, found = leaderboard(results), report_of(folder)
    plots = draw_all(found, folder / PLOTS)  # first: whoever reads along may leave after a line
    lines = [f"results: {folder}"]
    if plots:
        lines.append(f"plots:   {plots[0].parent} ({len(plots)} PNG files)")
    lines.append(page_line(found, folder))
    render(board, console)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return list(results["status"])


def _console() -> Console:
    from rich.console import Console

    class PipedConsole(Console):
        """Ends the command when nobody reads on; as an exit, which no cell takes for a fault of its own."""

        def on_broken_pipe(self) -> None:
            _leave_pipe()

    console = PipedConsole()
    return console if console.is_terminal else PipedConsole(width=120)


def main() -> None:
    """Runs the command line; a known error becomes one line on standard error and exit code 2."""
    reuse_freed_memory()
    sys.path.insert(0, "")  # plug-ins and models of the current folder, as python -m would find them
    for stream in (sys.stdout, sys.stderr):
        _write_what_it_can(stream)
    try:
        with terminable():
            code = app(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # | head
        _leave_pipe()
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is on the screen
            sys.exit(error.exit_code)
        _fail(_told(error, sys.argv[1:]))
    except typer.Abort:
        _fail("aborted", code=1)
    except RankSearchError as error:
        _fail(str(error))
    except KeyboardInterrupt as interruption:  # of a command that has nothing to keep
        _fail("interrupted", code=exit_code(interruption))
    except OSError as error:
        if error.errno not in REPORTED:
            raise
        _fail(f"{error.strerror}: {error.filename or ''}; free some space or choose another folder")


def _write_what_it_can(stream: Any) -> None:
    """A terminal that is not UTF-8 is given a sign for each character that it lacks."""
    if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


def _leave_pipe() -> NoReturn:
    """Ends without a word, as a program does that a closed pipe ends."""
    with suppress(OSError, ValueError, AttributeError):  # what is left to write goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(CLOSED_PIPE)


def _told(error: Any, given: list[str]) -> str:
    """A usage error in words: what was given and to which command, and the options that it has."""
    ctx = error.ctx
    where = "rank-search" if ctx is None or ctx.parent is None else f"the command {ctx.info_name!r}"
    if type(error).__name__ == "NoSuchOption":  # click names -r where -resume was given
        name = next((word.partition("=")[0] for word in given if word.startswith(error.option_name)), error.option_name)
        params = [param for param in ctx.command.get_params(ctx) if param.param_type_name == "option"]
        options = [option for param in params for option in param.opts]
        return f"{where} has no option {name!r}{nearest(name, options)}; its options are: {', '.join(options)}"
    message = error.format_message().strip().rstrip(".")
    value = _value_of(getattr(error.param, "opts", []), given) if type(error) is typer.BadParameter else None
    said = f"; given: {value!r}" if value is not None and repr(value) not in message else ""
    return f"{where}: {message[:1].lower()}{message[1:]}{said}"


def _value_of(options: list[str], given: list[str]) -> str | None:
    """What follows the last of these options in the words of the command line."""
    for number in reversed(range(len(given))):
        name, sign, value = given[number].partition("=")
        if name in options:
            return value if sign else "".join(given[number + 1 : number + 2])
    return None


def _fail(message: str, code: int = 2) -> NoReturn:
    with suppress(BrokenPipeError, AttributeError):  # nobody listens
        sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(code)
