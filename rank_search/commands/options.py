"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="Name of an installed config, or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the config; may be repeated.")
]
AddressOption = Annotated[
    str | None, typer.Option("--ray-address", metavar="ADDRESS", help="A Ray cluster: HOST:PORT of its head, or auto.")
]
TaskOption = Annotated[str | None, typer.Option("--task", help="Which task of the config; the first unless told.")]


def with_address(settings: list[str] | None, address: str | None) -> list[str]:
    """The settings, and the address of a cluster as one of them."""
    return [*(settings or []), *([] if address is None else [f"run.ray_address={address}"])]
