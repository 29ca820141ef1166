"""``rank-search inspect``."""

from __future__ import annotations

from typing import Annotated

import typer

from rank_search.commands.console import make_console
from rank_search.commands.options import ConfigArgument, SetOption
from rank_search.commands.typed import shape_of
from rank_search.errors import ConfigError


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

    console = make_console()
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
    from rank_search.run.task_space import untrained_space

    loaded = load_config(config, settings)
    for name, section in loaded.tasks.items():
        print_space(untrained_space(section), name, console)
