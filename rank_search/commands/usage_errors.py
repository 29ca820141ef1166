"""A usage error of the command line in words."""

from __future__ import annotations

from typing import Any

import typer

from rank_search.plugins import nearest


def usage_error_in_words(error: Any, given: list[str]) -> str:
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
