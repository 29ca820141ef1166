"""Prints pip constraints that pin every dependency of pyproject.toml to its lower bound; needs Python 3.11."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import tomllib

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def pinned(requirement: str) -> str:
    """``name[extra]>=1.2,<2; marker`` as ``name==1.2; marker``: constraints bear no extras."""
    found = re.match(
        r"\s*(?P<name>[\w.-]+)\s*(\[.*?\])?[^;]*?>=\s*(?P<version>[\w.]+)[^;]*(?P<marker>;.*)?$", requirement
    )
    if found is None:
        sys.exit(f"error: the dependency {requirement!r} has no lower bound")
    return f"{found['name']}=={found['version']}{found['marker'] or ''}"


if __name__ == "__main__":
    for dependency in tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]:
        print(pinned(dependency))
