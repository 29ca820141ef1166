"""The time that a task counts, of the engine where its network will run."""

from __future__ import annotations

from pathlib import Path

from rank_search.deploy.engines import make_engine
from rank_search.deploy.latency import Latency, LatencyTable
from rank_search.errors import ConfigError
from rank_search.run.config import LATENCY, TargetConfig, TaskConfig

LATENCIES = "latency.json"


def target_latency(section: TaskConfig, table: Path | None = None) -> Latency:
    """The time that a task counts: of its target; with the table of a run folder, which is only read.

    Raises:
        EngineError: if the engine is not installed, or the table is of another set-up.
    """
    target = section.target or TargetConfig()
    named = target.engine if isinstance(target.engine, dict) else {target.engine: None}
    ((name, options),) = named.items()
    if "threads" in (options or {}):
        raise ConfigError(f"target.engine.{name} has threads of its own: give target.threads alone")
    engine = make_engine({name: {"threads": target.threads, **(options or {})}})
    if table is None:
        return Latency(engine, target.batch)
    fingerprint = Latency(engine, target.batch).fingerprint()
    return Latency(engine, target.batch, LatencyTable.read(table, fingerprint), measures=False)


def counts_latency(section: TaskConfig) -> bool:
    """Whether the task's space counts a time."""
    return LATENCY in section.space.metrics


def aligned(section: TaskConfig) -> bool | int:
    """What the target says of ranks that its machine likes."""
    wanted = "none" if section.target is None else section.target.align
    return wanted if isinstance(wanted, int) else wanted == "auto"
