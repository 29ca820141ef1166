"""The command line. Every error is one readable line and exit code 2; heavy imports wait until a command runs."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rank_search.errors import ConfigError, RankSearchError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="rank-search",
    help="Choose the rank of every layer of a neural network under a hard budget, with any method, and compare fairly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="Name of an installed config, or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the config; may be repeated.")
]
TaskOption = Annotated[str | None, typer.Option("--task", help="Which task of the config; the first unless told.")]


@app.command("list")
def list_plugins() -> None:
    """List searchers, forms and configs, broken plug-ins with their errors."""
    from rank_search.errors import PluginError
    from rank_search.run.config_file import installed_configs
    from rank_search.searching import searchers
    from rank_search.space.forms.decomposition import decompositions

    console = _console()
    for title, registry in (("searchers", searchers), ("forms", decompositions)):
        console.print(f"[bold]{title}[/bold]")
        width = max(map(len, registry.names()))
        for name, found in registry.listing().items():
            if isinstance(found, PluginError):
                console.print(f"  {name:{width}} broken: {found}", highlight=False, markup=False, soft_wrap=True)
            else:
                summary = (found.__doc__ or "").strip().splitlines()[0] if found.__doc__ else ""
                console.print(f"  {name:{width}} {summary}", highlight=False, markup=False, soft_wrap=True)
    console.print("[bold]configs[/bold]")
    for name in installed_configs():
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
    from rank_search.report.tables.space_table import print_space

    console = _console()
    if model is not None:
        import torch

        from rank_search.space import RankSpace
        from rank_search.task import load_model

        shape = _shape(input_shape)
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
    budget: Annotated[str, typer.Option(help="Such as macs=0.3 or params=0.4,macs=0.5.")] = "macs=0.5",
    seed: Annotated[int, typer.Option(help="Of the search and the fine-tune.")] = 0,
    task: TaskOption = None,
    settings: SetOption = None,
) -> None:
    """Run one search, fine-tune, and save the compressed network."""
    from rank_search.run.config import load_config
    from rank_search.run.single import run_single

    console = _console()
    row = run_single(load_config(config, settings), task, searcher, budget, seed, output)
    console.print(
        f"kept {row['kept_macs']:.4f} of the MACs and {row['kept_params']:.4f} of the parameters; "
        f"latency {row['latency_ms']:.2f} ms an image, dense {row['dense_latency_ms']:.2f} ms\n"
        f"validation accuracy: dense {row['dense_val_accuracy']:.2%}, before fine-tuning {row['accuracy_before']:.2%}, "
        f"after {row['val_accuracy']:.2%}",
        highlight=False,
    )
    if row["reason"]:
        console.print(f"the search stopped early: {row['reason']}", markup=False, highlight=False)
    if row["test_accuracy"] is not None:
        console.print(f"test accuracy: dense {row['dense_test_accuracy']:.2%}, compressed {row['test_accuracy']:.2%}")
    said = f'saved in {output}; load it with rank_search.load("{output}", factory)'
    console.print(said, highlight=False, markup=False, soft_wrap=True)


@app.command()
def bench(
    config: ConfigArgument,
    output: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME unless told.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    in_process: Annotated[bool, typer.Option("--in-process", help="One cell after another, without Ray.")] = False,
    settings: SetOption = None,
) -> None:
    """Run all cells of a config (tasks x budgets x searchers x seeds), then print the leaderboard."""
    from rank_search.run.bench import bench as run_bench
    from rank_search.run.config import load_config
    from rank_search.run.progress import LiveProgress
    from rank_search.run.tracking import database_uri

    console = _console()
    loaded = load_config(config, settings)
    where = output or Path("runs") / loaded.name
    try:
        folder = run_bench(loaded, where, resume, in_process, LiveProgress(console))
    except KeyboardInterrupt:
        kept = f"finished cells are kept: go on with the same command and --resume ({where})"
        said = kept if where.exists() else "nothing was started"
        console.print(f"\ninterrupted; {said}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    statuses = _report(folder, console)
    uri = loaded.run.tracking or database_uri(folder)
    if uri.startswith("sqlite:"):
        ui = f"{Path(sys.executable).parent / 'mlflow'} ui --backend-store-uri {uri}"
        console.print(f"MLflow:  {ui}", highlight=False, markup=False, soft_wrap=True)
    if "done" not in statuses:
        sys.stderr.write(f"error: all {len(statuses)} cells failed; their reasons are above\n")
        raise typer.Exit(1)


@app.command()
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Print a run's leaderboard again and write its plots."""
    _report(run, _console())


def _report(folder: Path, console: Console) -> list[str]:
    """Prints the leaderboard, writes the plots, and returns the status of every cell."""
    from rank_search.report import leaderboard, read_results, render, write_plots

    results = read_results(folder)
    render(leaderboard(results), console)
    plots = write_plots(folder)
    console.print(f"results: {folder}", highlight=False, markup=False, soft_wrap=True)
    if plots:
        console.print(
            f"plots:   {plots[0].parent} ({len(plots)} PNG files)", highlight=False, markup=False, soft_wrap=True
        )
    return list(results["status"])


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--input {text!r} is not a list of sizes, e.g. 3,224,224")
    return tuple(int(part) for part in parts)


def _console() -> Console:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=120)


def main() -> None:
    """Runs the command line; a known error becomes one line on standard error and exit code 2."""
    sys.path.insert(0, "")  # plug-ins and models of the current folder, as python -m would find them
    try:
        app()
    except RankSearchError as error:
        _fail(" ".join(str(error).split()))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        _fail(f"{error.strerror}: {error.filename or ''}; free some space or choose another folder")


def _fail(line: str) -> None:
    sys.stderr.write(f"error: {line}\n")
    sys.exit(2)
