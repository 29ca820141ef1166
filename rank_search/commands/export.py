"""``rank-search export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rank_search.commands.console import make_console


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
    print_export(exported, read_json(folder / RESULT_FILE)["unit"], make_console())
