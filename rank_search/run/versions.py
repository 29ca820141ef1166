"""What a run folder says of the software that its numbers come from."""

from __future__ import annotations

import logging
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rank_search.files import read_json, write_json
from rank_search.records.schema import RESUMED, VERSIONS

PACKAGES = {"rank_search": "rank-search", **{name: name for name in ("torch", "numpy", "ray", "mlflow")}}


def versions() -> dict[str, str]:
    """Of the packages that numbers depend on, of Python and of the platform; nothing that names the machine."""
    found = {name: _installed(package) for name, package in PACKAGES.items()}
    return {**found, "python": platform.python_version(), "platform": platform.platform()}


def note_other_versions(path: Path) -> None:
    """Says so, and writes it down, if a run goes on under other versions than it began with.

    Args:
        path: of its ``run.json``. One that recorded no versions, of an older release, is left as it is.
    """
    record: dict[str, Any] = dict(read_json(path)) if path.is_file() else {}
    before = record.get(VERSIONS)
    if not isinstance(before, dict):
        return
    changed = {name: now for name, now in versions().items() if name in before and before[name] != now}
    if not changed:
        return
    said = ", ".join(f"{name} {before[name]} and now {now}" for name, now in changed.items())
    logging.getLogger("rank_search").warning(
        "%s was started with %s: cells that run now may differ from those before.", path.parent, said
    )
    resumed = record.get(RESUMED, [])
    if changed not in resumed:
        write_json(path, {**record, RESUMED: [*resumed, changed]})


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
