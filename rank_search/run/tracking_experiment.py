"""Which experiment of MLflow a run belongs to."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import unquote

from rank_search.errors import TrackingError
from rank_search.run.folder import RunFolder

ARTIFACTS = "mlartifacts"


def find_experiment(client: Any, uri: str, name: str, folder: RunFolder) -> str:
    """The id of the experiment, which is made if there is none.

    A server keeps artifacts itself. To a database they are given by us, and an experiment has one place for them: the
    folder of the run that made it. Another run of that name has an experiment of its own.

    Args:
        client: of MLflow.
        uri: that the client was made with.
        name: of the experiment.
        folder: of the run.

    Raises:
        TrackingError: if the experiments of these names cannot be this run's.
        Exception: whatever MLflow raises.
    """
    if not re.match(r"(sqlite|mysql|mssql|postgresql)(\+\w+)?:", uri):
        return str(_found_or_made(client, name, None).experiment_id)
    place = (folder.path / ARTIFACTS).as_uri()
    apart = f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
    for candidate in (name, apart):
        found = _found_or_made(client, candidate, place)
        if unquote(found.artifact_location) == unquote(place) and found.lifecycle_stage == "active":
            return str(found.experiment_id)
    raise TrackingError(f"the experiments {name} and {apart} are deleted, or other runs': restore or rename them")


def _found_or_made(client: Any, name: str, place: str | None) -> Any:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found
    try:
        client.create_experiment(name, place)
    except Exception:
        found = client.get_experiment_by_name(name)
        if found is None:  # else another run was first
            raise
    return client.get_experiment_by_name(name)
