"""The console that commands write to, and what it says when a user interrupts."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

CLOSED_PIPE = 141
"""What a shell says of a program that a closed pipe ended: 128 + SIGPIPE."""


def make_console() -> Console:
    """A terminal, or 120 columns where the output is read by a program."""
    from rich.console import Console

    class PipedConsole(Console):
        """Ends the command when nobody reads on; as an exit, which no cell takes for a fault of its own."""

        def on_broken_pipe(self) -> None:
            leave_pipe()

    console = PipedConsole()
    return console if console.is_terminal else PipedConsole(width=120)


def say_interrupted(console: Console, where: Path, kept: str) -> None:
    """Says what is kept of what a command wrote there, and how to go on."""
    said = f"{kept}: go on with the same command and --resume ({where})" if where.exists() else "nothing was started"
    console.print(f"\ninterrupted; {said}", highlight=False, markup=False, soft_wrap=True)


def leave_pipe() -> NoReturn:
    """Ends without a word, as a program does that a closed pipe ends."""
    with suppress(OSError, ValueError, AttributeError):  # what is left to write goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(CLOSED_PIPE)
