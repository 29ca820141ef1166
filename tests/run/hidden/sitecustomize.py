"""On the Python path of a process it hides the folder ``$HIDDEN_FOLDER``: nothing in it can be opened, listed or made.

A node of a test cluster that is started with it is a machine of its own as far as that folder goes.
"""

import os
import sys

HIDDEN = os.environ.get("HIDDEN_FOLDER")


def _hide(event: str, args: tuple) -> None:  # type: ignore[type-arg]
    if event in ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove") and args:
        path = args[0]
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(str(HIDDEN) + os.sep):
            raise FileNotFoundError(2, "hidden on this node", str(path))


if HIDDEN:
    sys.addaudithook(_hide)
