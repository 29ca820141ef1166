"""``config.yaml`` of a run folder, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import RunError
from rank_search.records.schema import CONFIG_FILE


def read_run_config(folder: Path) -> dict[str, Any]:
    """What a run was started with, defaults spelled out; empty if the folder has no such file.

    Raises:
        RunError: if it cannot be read.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise RunError(f"{path} is no config of a run: run the bench again in a new folder")
    return found
