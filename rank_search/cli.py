"""The command line. Every error is one readable line and exit code 2; heavy imports wait until a command runs."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from rank_search.commands.bench import bench
from rank_search.commands.compress import compress
from rank_search.commands.console import leave_pipe
from rank_search.commands.export import export
from rank_search.commands.inspect import inspect
from rank_search.commands.latency import latency
from rank_search.commands.list_plugins import list_plugins
from rank_search.commands.record import record
from rank_search.commands.report import report
from rank_search.commands.search import search
from rank_search.commands.usage_errors import usage_error_in_words
from rank_search.errors import ConfigError, RankSearchError
from rank_search.interruption import exit_code, terminable
from rank_search.memory import reuse_freed_memory
from rank_search.plugins import nearest

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

app.command("list")(list_plugins)
for _command in (inspect, search, compress, latency, bench, export, record, report):
    app.command()(_command)


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
        leave_pipe()
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is on the screen
            sys.exit(error.exit_code)
        _fail(usage_error_in_words(error, sys.argv[1:]))
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


def _fail(message: str, code: int = 2) -> NoReturn:
    with suppress(BrokenPipeError, AttributeError):  # nobody listens
        sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(code)
