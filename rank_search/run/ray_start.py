"""Starting Ray, and what its errors say."""

from __future__ import annotations

import logging
from typing import Any

from rank_search.errors import RunError
from rank_search.run.config import RunConfig


def start_ray(ray: Any, settings: RunConfig) -> None:
    """Starts Ray on this machine, or joins the configured cluster; quietly.

    Raises:
        RunError: if it cannot be started.
    """
    quiet = {"include_dashboard": False, "logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if settings.ray_address is not None:
            ray.init(address=settings.ray_address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            ray.init(address="local", num_cpus=settings.workers * settings.threads, **quiet)
    except Exception as error:
        where = settings.ray_address or "this machine"
        raise RunError(
            f"Ray cannot be started on {where}: {line_of(error)}; use --in-process to run without it"
        ) from error


def line_of(error: BaseException) -> str:
    """The last line of an error, where Ray puts the cause, or its type."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
