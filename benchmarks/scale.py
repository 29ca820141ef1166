"""What a bench of many cells on many nodes would need, worked out from measured constants.

    python benchmarks/scale.py [--cells 10000] [--nodes 100] [--cores 16] [--cell-seconds 600] [--task-mb 100]

On paper: nothing is run. The constants of tracking and of the driver's base are measured, the others are estimates:
see ``benchmarks/cluster_overhead.py`` and
``benchmarks/tracking_overhead.py`` (docs/results.md has the machine and the date); give your own to see what changes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields

DAY = 86_400.0


@dataclass(frozen=True)
class Bench:
    """Args:
    cells, nodes, cores: of the bench and its cluster; a cell has one core.
    cell_seconds: that a cell computes.
    task_mb: dense weights, decompositions and covariances, in the object store of every node.
    network_mb: of a compressed network: what a cell sends at its end, three times that in every checkpoint.
    driver_ms: CPU time of the driver per cell (Ray Tune's events, rows, progress).
    driver_base_mb, driver_cell_kb: memory of the driver: at its start, and what every cell adds.
    tracking_calls, tracking_ms: MLflow's requests per cell, and the time of one.
    desk_mb_per_s: that the actor beside the driver writes.
    link_mb_per_s: of the driver's machine.
    least_checkpoint_seconds: between two checkpoints of a cell that are sent; where the
        desk is slow workers send less often.
    """

    cells: int = 10_000
    nodes: int = 100
    cores: int = 16
    cell_seconds: float = 600.0
    task_mb: float = 100.0
    network_mb: float = 1.0
    driver_ms: float = 60.0
    driver_base_mb: float = 450.0
    driver_cell_kb: float = 40.0
    tracking_calls: float = 12.0
    tracking_ms: float = 15.0
    desk_mb_per_s: float = 100.0
    link_mb_per_s: float = 1_000.0
    least_checkpoint_seconds: float = 2.0

    @property
    def seconds(self) -> float:
        """Ideal wall time: every core always busy."""
        return self.cells * self.cell_seconds / (self.nodes * self.cores)

    @property
    def under_way(self) -> int:
        """Cells at once."""
        return min(self.cells, self.nodes * self.cores)

    @property
    def results_mb_per_s(self) -> float:
        """Results that come back to the driver's machine."""
        return self.cells * self.network_mb / self.seconds

    @property
    def checkpoint_seconds(self) -> float:
        """Between two checkpoints of a cell: what the desk has time for beside the results."""
        room = max(self.desk_mb_per_s - self.results_mb_per_s, 1e-9)
        return max(self.least_checkpoint_seconds, self.under_way * 3 * self.network_mb / room)

    def loads(self) -> dict[str, float]:
        """The share of each part's capacity that the bench takes; above 1 it is what the bench waits for."""
        tracking = self.cells * self.tracking_calls * self.tracking_ms / 1e3 / self.seconds
        checkpoints = self.under_way * 3 * self.network_mb / self.checkpoint_seconds
        memory = self.driver_base_mb + self.cells * self.driver_cell_kb / 1e3
        return {
            "the driver's core (Ray Tune's event loop)": self.cells * self.driver_ms / 1e3 / self.seconds,
            "tracking (one thread, requests in a row)": tracking,
            "the desk (writes results)": self.results_mb_per_s / self.desk_mb_per_s,
            "the network of the driver's machine": (self.results_mb_per_s + checkpoints) / self.link_mb_per_s,
            "memory of the driver, of 4 GB": memory / 4_000,
            "object store of a node, of 2 GB": self.task_mb / 2_000,
        }


def table(bench: Bench) -> str:
    """The loads, the largest first, and what they mean."""
    lines = [
        f"{bench.cells:,} cells of {bench.cell_seconds:g} s on {bench.nodes} nodes of {bench.cores} cores: "
        f"{bench.seconds / 3600:.1f} h if nothing waits",
        f"the prepared task is sent {bench.nodes} times: {bench.nodes * bench.task_mb / 1e3:.1f} GB, "
        f"{bench.nodes * bench.task_mb / bench.link_mb_per_s:.0f} s of the driver's network",
        f"MLflow: {bench.cells * bench.tracking_calls:,.0f} requests",
        f"results: {bench.cells * bench.network_mb / 1e3:.1f} GB in the run folder",
        f"checkpoints: one of each of {bench.under_way:,} cells every {bench.checkpoint_seconds:.0f} s; so much a lost "
        "node repeats",
        "",
        "share of its capacity that each part needs:",
    ]
    loads = dict(sorted(bench.loads().items(), key=lambda item: -item[1]))
    lines += [f"  {share:8.2f}  {name}" for name, share in loads.items()]
    return "\n".join([*lines, "", verdict(loads)])


def verdict(loads: Mapping[str, float]) -> str:
    """Which limit comes first."""
    name, share = next(iter(loads.items()))
    if share > 1:
        return f"the first limit: {name}; the bench takes {share:.1f} times as long"
    return f"nothing waits; the first limit: {name}, at {1 / share:.1f} times this load"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Bench):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    print(table(Bench(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
