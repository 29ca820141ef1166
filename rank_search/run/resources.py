"""What a cell needs of a machine, and whether the cluster has it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from rank_search.errors import RunError
from rank_search.run.config import Config, RunConfig, SearcherConfig

Resources = dict[str, float]


def of_process(settings: RunConfig) -> Resources:
    """What one process that searches or evaluates needs, as Ray names it: ``CPU``, ``GPU`` and the user's own."""
    gpus = (1.0 if settings.device == "cuda" else 0.0) if settings.gpus is None else settings.gpus
    found = {"CPU": float(settings.threads if settings.cpus is None else settings.cpus), "GPU": gpus}
    return {name: amount for name, amount in {**found, **settings.resources}.items() if amount}


def of_actor(settings: RunConfig) -> dict[str, Any]:
    """The same as options of a Ray actor."""
    needed = of_process(settings)
    return {"num_cpus": needed.pop("CPU", 0), "num_gpus": needed.pop("GPU", 0), "resources": needed}


def at_once(settings: RunConfig) -> int:
    """Processes at once: ``workers``, or as many as the cores of this machine are enough for."""
    if isinstance(settings.workers, int):
        return settings.workers
    return max(1, int(cores() / (of_process(settings).get("CPU") or 1.0)))


def cpus_of_this_machine(settings: RunConfig, arms: Iterable[SearcherConfig] = ()) -> float:
    """CPUs that a Ray of our own must have: for all cells at once, and for the one with the most workers."""
    processes = max([at_once(settings), *(arm.workers for arm in arms)])
    return max(1.0, of_process(settings).get("CPU", 0.0) * processes)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_room(config: Config, nodes: Iterable[Mapping[str, Any]]) -> None:
    """Looks whether every process finds a node that is large enough, and every cell enough of them.

    Args:
        config: of the run.
        nodes: as ``ray.nodes()`` lists them.

    Raises:
        RunError: says what is needed and what there is.
    """
    there = [dict(node["Resources"]) for node in nodes if node["Alive"]]
    needed = of_process(config.run)
    most = max(arm.workers for arm in config.searchers)
    fitting = sum(_times(node, needed) for node in there)
    if fitting >= most:
        return
    names = sorted({*needed, "CPU", "GPU"} | {*config.run.resources})
    total = {name: sum(node.get(name, 0.0) for node in there) for name in names}
    largest = {name: max((node.get(name, 0.0) for node in there), default=0.0) for name in names}
    raise RunError(
        f"a cell needs {_said(needed)}{f' {most} times' if most > 1 else ''}; the cluster has {_said(total)} on "
        f"{len(there)} node{'s' * (len(there) != 1)}, at most {_said(largest)} on one, room for {fitting} such "
        f"process{'es' * (fitting != 1)}: lower run.cpus, run.gpus, run.resources or workers, or add nodes"
    )


def _times(node: Mapping[str, float], needed: Mapping[str, float]) -> float:
    """How often this fits into a node; a fraction of a GPU is of one GPU."""
    return min((_share(node.get(name, 0.0), name, amount) for name, amount in needed.items()), default=math.inf)


def _share(there: float, name: str, amount: float) -> float:
    if name == "GPU" and amount < 1:
        return math.floor(there) * math.floor(1 / amount + 1e-9)
    return math.floor(there / amount + 1e-9)


def _said(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items()) or "nothing"
