"""``rank-search compress``: the engineer's one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rank_search.commands.console import make_console, say_interrupted
from rank_search.commands.typed import colours_of, shape_of
from rank_search.errors import RankSearchError
from rank_search.interruption import exit_code

if TYPE_CHECKING:
    from rich.console import Console

    from rank_search.run.config import Config, TaskConfig

Budgets = list[str] | None
LOOKED_AT = 64  # images that say how the network is used to see them


def compress(
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Such as torchvision:resnet18, cifar_resnet20, my_module:function.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the compressed network; must be empty or new.")],
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors, .pt or .pth file; random weights without it.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Images, with or without a folder for each class.")
    ] = None,
    budget: Annotated[
        Budgets,
        typer.Option(
            help="Such as macs=0.3 or latency_ms=0.35ms; macs=0.5 unless told. May be repeated, or a range: "
            "macs=0.2:0.8:0.1."
        ),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option("--input", help="channels,height,width; that of the network's family unless told.")
    ] = None,
    labels: Annotated[
        bool | None, typer.Option("--labels/--no-labels", help="Whether folders of images are classes.")
    ] = None,
    most_images: Annotated[int | None, typer.Option("--most", help="Read at most so many images.", min=3)] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Of images from 0 to 1, one or three; ImageNet's unless told.")
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="NUMBERS", help="The standard deviation, likewise.")] = None,
    forms: Annotated[str | None, typer.Option(help="What layers may become, separated by commas.")] = None,
    exclude: Annotated[str | None, typer.Option(help="Patterns of layers that stay, separated by commas.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="Where it will run, such as onnxruntime: ranks are chosen for it.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Inputs of one run there.", min=1)] = 1,
    epochs: Annotated[
        int | None, typer.Option(help="Of the fine-tune; 5, or none on fewer than 1000 images.", min=0)
    ] = None,
    to: Annotated[
        str, typer.Option(metavar="FORMAT", help="Exported to onnx, pt2, torchscript or safetensors; or none.")
    ] = "safetensors",
    threads: Annotated[
        int | None, typer.Option(help="That compute; as many as torch takes. On busy cores 1 is much faster.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split and the fine-tune.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what was interrupted there.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the config that it runs.")
    ] = None,
) -> None:
    """Make a trained network small: ranks, repair, fine-tune, export, with a model card; labels are not needed."""
    from rank_search.commands.step_lines import StepLines
    from rank_search.deploy.export.formats import make_format
    from rank_search.listening import listening
    from rank_search.run.compression import compression_config
    from rank_search.run.single import check_output, parse_budgets, run_several

    console = make_console()
    if to != "none":
        make_format(to)
    check_output(output, resume)
    budgets = parse_budgets(budget or ["macs=0.5"])
    config = compression_config(
        model,
        weights,
        images,
        budgets,
        shape=None if input_shape is None else shape_of(input_shape),
        labels=labels,
        most_images=most_images,
        mean=colours_of("--mean", mean),
        std=colours_of("--std", std, positive=True),
        forms=None if forms is None else [name.strip() for name in forms.split(",")],
        exclude=None if exclude is None else [pattern.strip() for pattern in exclude.split(",")],
        engine=engine,
        batch=batch,
        epochs=epochs,
        threads=threads,
        seed=seed,
        settings=settings,
    )
    _say_what(console, config, weights, images, labels, epochs)
    try:
        with StepLines(console) as lines, listening(lines):
            rows = run_several(config, None, config.searchers[0].title, budgets, seed, output, resume)
    except KeyboardInterrupt as interruption:
        say_interrupted(console, output, "what is done is kept")
        raise typer.Exit(exit_code(interruption)) from None
    _say_result(console, config, rows, output, has_data=images is not None)
    if to != "none":
        _export(console, rows, output, to)


def _say_what(
    console: Console,
    config: Config,
    weights: Path | None,
    images: Path | None,
    labels: bool | None,
    epochs: int | None,
) -> None:
    from rank_search.task.data.load_images import list_images

    ((_, section),) = config.tasks.items()
    data = section.data.options
    lines = []
    if weights is None:
        lines.append(f"{section.model.name} has random weights: give --weights for a network that is trained")
    if images is None:
        lines.append("no images: ranks are chosen by the weights alone, and nothing says what the answer is worth")
    else:
        kind = "with labels" if data["labels"] else f"without labels: {section.objective} with the dense network"
        listed = list_images(images, data["labels"])
        count = min(len(listed.paths), data.get("images") or len(listed.paths))
        lines.append(f"images: {count:,} of {images}, {kind}")
        folders = 0 if data["labels"] or labels is False else len(list_images(images).classes)
        if folders:
            lines.append(f"its {folders} folders are not used as classes: the network has another number of outputs")
        if fit := _better_normalisation(section):
            lines.append(fit)
        if epochs is None and not section.finetune.epochs:
            lines.append("few images: no fine-tune, the refit alone is better on so few (--epochs 5 for one)")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _better_normalisation(section: TaskConfig) -> str:
    """A line if the network's first batch norm says that images are normalised otherwise than it was used to."""
    from rank_search.run.compression.normalisation import KNOWN, Normalisation, better_normalisation
    from rank_search.task import load_model
    from rank_search.task.data.load_images import load_images

    if section.model.weights is None or section.data.name != "images":
        return ""
    model = load_model(section.model.name, section.model.weights, **section.model.options)
    some = load_images(**{**section.data.options, "labels": False, "images": LOOKED_AT, "validation": 0.2})
    name = better_normalisation(model, some.train.images.float() / 255, Normalisation(some.mean, some.std))
    if name is None:
        return ""
    mean, std = (",".join(f"{number:.6g}" for number in values) for values in KNOWN[name])
    return (
        f"are the images normalised as they were in training? The network's first batch norm fits {name} "
        f"better (--mean {mean} --std {std})"
    )


def _say_result(console: Console, config: Config, rows: list[dict[str, Any]], output: Path, has_data: bool) -> None:
    from rank_search.commands.page_line import page_line
    from rank_search.report import report_of
    from rank_search.report.render.curve_table import curve_table
    from rank_search.report.render.gain_line import gain_line, no_faster
    from rank_search.report.render.stage_lines import held_out, left_lines, worth_line
    from rank_search.report.render.terminal_table import print_table

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    done = [row for row in rows if row["status"] == "done"]
    for row in rows:
        if row["status"] != "done":
            say(f"{row['budget']}: failed: {row['reason']}")
    if len(rows) > 1:
        print_table(curve_table(done, has_data, held_out(output / "cells" / done[0]["cell"])), console)
    for row in done:
        place = output if len(rows) == 1 else output / "cells" / row["cell"]
        if len(rows) == 1:
            say(gain_line(row))
            if hint := no_faster(row):
                say(hint)
        if has_data:
            say(f"{row['budget']}: {worth_line(place, row, 'image')}")
            for line in left_lines(place):
                say(line)
        if row["remarks"]:
            say(f"remarks: {row['remarks']}")
    model = next(iter(config.tasks.values())).model
    if model.weights is None:
        say(f"no --weights: unless {model.name} loads its own, these numbers say nothing of a trained network")
    options = "".join(f", {key}={value!r}" for key, value in model.options.items())
    folder = output if len(rows) == 1 else output / "cells" / done[-1]["cell"]
    if len(rows) > 1 and has_data:
        say(page_line(report_of(output), output))
    if len(rows) > 1:
        say(f"saved in {output}, the network of each budget in its folder of {output / 'cells'}")
        say(f"that of {done[-1]['budget']} in Python, the others likewise:")
    else:
        say(f"saved in {output}; in Python:")
    say(f"  rank_search.load({_quoted(folder)}, lambda: rank_search.load_model({_quoted(model.name)}{options}))")


def _quoted(value: object) -> str:
    """As Python reads it, in the quotes of the documents."""
    text = repr(str(value))
    return text if '"' in text or "\\" in text else f'"{text[1:-1]}"'


def _export(console: Console, rows: list[dict[str, Any]], output: Path, to: str) -> None:
    """Exports every network; one that cannot be exported is said, and stays."""
    from rank_search.run.export_result import export_result

    for row in rows:
        if row["status"] != "done":
            continue
        place = output if len(rows) == 1 else output / "cells" / row["cell"]
        try:
            exported = export_result(place, to)
        except RankSearchError as error:
            said = f"not exported to {to}: {error}"
        else:
            said = f"model card: {exported.folder / 'MODEL_CARD.md'} ({to}, runs without rank-search)"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
