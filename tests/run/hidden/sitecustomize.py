"""On the Python path of a process it hides the folder ``$HIDDEN_FOLDER``: nothing in it can be opened, listed or made.

A node of a test cluster that is started with it is a machine of its own as far as that folder goes.
"""

import os
import posix
import sys

HIDDEN = os.environ.get("HIDDEN_FOLDER")
EVENTS = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.chdir")


def _is_hidden(path: object) -> bool:
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    return isinstance(path, str | os.PathLike) and (os.path.abspath(path) + os.sep).startswith(str(HIDDEN) + os.sep)


def _hide(event: str, args: tuple) -> None:  # type: ignore[type-arg]
    if event in EVENTS and args and _is_hidden(args[0]):
        raise FileNotFoundError(2, "hidden on this node", str(args[0]))


def _blind(look):  # type: ignore[no-untyped-def]
    """A function that looks at a path, without sight of what is hidden; such looks raise no audit event."""

    def looking(path, *args, **kwargs):  # type: ignore[no-untyped-def]
        if _is_hidden(path):
            raise FileNotFoundError(2, "hidden on this node", str(path))
        return look(path, *args, **kwargs)

    return looking


if HIDDEN:
    for name in ("stat", "lstat"):
        blind = _blind(getattr(posix, name))
        setattr(posix, name, blind)  # of the import system
        setattr(os, name, blind)
    sys.addaudithook(_hide)
