"""What the driver hands to workers, and looking at the nodes before any cell begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

from rank_search.errors import RunError
from rank_search.run.config import Config
from rank_search.run.folder import RunFolder
from rank_search.run.parcel import packed
from rank_search.run.ray_start import line_of
from rank_search.run.relay import ByRay, ByStorage, Desk, Relay
from rank_search.run.user_code import UserCode, user_code

NODE_SECONDS = 120.0  # in which a node must answer
COMPARED = ("rank-search", "torch", "numpy")


@dataclass(frozen=True)
class RemoteRun:
    """A run as its workers know it; small, and picklable by Ray.

    Args:
        config: of the run.
        path: of the run folder, where it is seen.
        id: of the run.
        start: of the driver: a name of its own.
        tasks: references to the parcels of the prepared tasks, by name.
        relay: for workers that do not see the run folder; None where all do.
        code: the user's modules.
        import_paths: of the driver.
        working_folder: of the driver, from which relative paths of data are meant.
        versions: of what results depend on.
    """

    config: Config
    path: str
    id: str
    start: str
    tasks: Mapping[str, Any]
    relay: Relay | None
    code: UserCode
    import_paths: tuple[str, ...]
    working_folder: str
    versions: Mapping[str, str]


def remote_run(ray: Any, config: Config, folder: RunFolder, start: str) -> RemoteRun:
    """Puts the prepared tasks where workers find them, and looks at every node of a cluster.

    Raises:
        RunError: if the storage cannot be written, or a node lacks what the run needs; says which.
    """
    paths = tuple(path or os.getcwd() for path in sys.path if path in ("", os.getcwd()) or os.path.isdir(path))
    joined = config.run.ray_address is not None
    run = RemoteRun(
        config,
        str(folder.path),
        folder.id,
        start,
        {name: ray.put(packed(folder.task(name))) for name in config.tasks} if joined else {},
        _relay(ray, config, folder) if joined or config.run.storage is not None else None,
        user_code(config),
        paths,
        os.getcwd(),
        versions(),
    )
    if joined:
        _look_at_nodes(ray, run)
    return run


def versions() -> dict[str, str]:
    """Versions of what results depend on, here."""
    return {name: version(name) for name in COMPARED}


def _relay(ray: Any, config: Config, folder: RunFolder) -> Relay:
    if config.run.storage is not None:
        storage = ByStorage(config.run.storage, folder.id)
        storage.begin()
        return storage
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    desk = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(Desk)
    return ByRay(desk.remote(str(folder.path / "cells")))


class _Node(NamedTuple):
    id: str
    address: str


def _look_at_nodes(ray: Any, run: RemoteRun) -> None:
    """Asks every node that can run anything what it would run with."""
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    asked: dict[Any, _Node] = {}
    storage = (run.config.run.storage, run.id)  # plain values: nothing of ours is there for sure
    for found in ray.nodes():
        if found["Alive"] and (found["Resources"].get("CPU") or found["Resources"].get("GPU")):
            node = _Node(str(found["NodeID"]), str(found["NodeManagerAddress"]))
            strategy = affinity(node.id, soft=False)
            look = ray.remote(num_cpus=0, max_retries=1, scheduling_strategy=strategy)(_looking())
            asked[look.remote(run.versions, storage)] = node
    waiting = list(asked)
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=NODE_SECONDS)
        if not ready:
            raise RunError(f"the node {asked[waiting[0]].address} of the cluster does not answer in {NODE_SECONDS:g} s")
        (reference,) = ready
        try:
            problem = ray.get(reference)
        except ray.exceptions.RayError as error:
            alive = {str(node["NodeID"]) for node in ray.nodes() if node["Alive"]}
            problem = f"cannot run anything: {line_of(error)}" if asked[reference].id in alive else None
        if problem is not None:
            raise RunError(f"the node {asked[reference].address} of the cluster {problem}")


def _looking() -> Callable[..., str | None]:
    """What is run on a node; a function inside of a function travels whole, also to where rank-search is not there."""

    def look(expected: dict[str, str], storage: tuple[str | None, str]) -> str | None:
        try:
            from rank_search.run.remote_run import problem_here
        except ImportError as error:
            return (
                f"cannot import rank-search ({error}): install rank-search {expected['rank-search']} there, in the "
                "Python that its Ray was started with"
            )
        return problem_here(expected, *storage)

    look.__module__ = "__main__"  # else it would be looked for by name
    return look


def problem_here(expected: Mapping[str, str], storage: str | None, run: str) -> str | None:
    """What keeps this process from being a worker, in words that follow "the node ..."."""
    found = versions()
    different = [name for name in expected if found[name] != expected[name]]
    if different:
        said = ", ".join(f"{name} {found[name]} (here {expected[name]})" for name in different)
        return f"has {said}: results would differ; install the same versions"
    if storage is not None and not ByStorage(storage, run).seen():
        return "does not see the storage that run.storage names: give a URI that all nodes share"
    return None
